// The tool calls that a running workcell waits for, and for how long.
import { timeOf } from '../core/event.ts';
import type { Summary } from '../core/wire.ts';
import { VisibleText } from '../text/visible-text.tsx';
import { RunningTime } from './running-time.tsx';

const MOST = 4;

export function OpenCalls({ workcell }: { workcell: Summary }) {
  if (workcell.status !== 'running') return null;
  return (
    <>
      {(workcell.open_calls ?? []).slice(0, MOST).map((call) => {
        const since = timeOf({ timestamp: call.since });
        return (
          <span class="chip chip-open" key={`${call.call_id} ${call.since}`}>
            <VisibleText text={call.tool} />
            {since !== null && <RunningTime since={since} />}
          </span>
        );
      })}
    </>
  );
}

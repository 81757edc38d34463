// The part of a row below its title.
import type { Item } from '../core/item.ts';
import { LongText } from '../text/long-text.tsx';
import { Answer } from './answer.tsx';
import { CallBody } from './call-body.tsx';
import { Diff } from './diff.tsx';

export function Body({ item, open, onRetry }: { item: Item; open: boolean; onRetry: () => void }) {
  switch (item.kind) {
    case 'prompt':
      return <LongText text={item.text} lines={12} prose />;
    case 'answer':
      return <Answer item={item} />;
    case 'thinking':
      return open ? <LongText text={item.text} lines={30} prose /> : null;
    case 'call':
      return <CallBody call={item} open={open} />;
    case 'command':
      return <LongText text={item.command} lines={8} />;
    case 'output':
      return <LongText text={item.output} lines={10} terminal />;
    case 'file':
      return item.file.diff === null ? null : <Diff diff={item.file.diff} />;
    case 'started':
      return <Facts facts={item.facts} />;
    case 'error':
      return <LongText text={item.error} lines={8} terminal />;
    case 'raw':
      return open ? <LongText text={rawText(item)} lines={40} /> : null;
    case 'gap':
      return item.reason === 'pruned' ? (
        <p class="dim">These events were pruned from the log.</p>
      ) : (
        <p class="dim">
          The source of these events is unavailable now.{' '}
          <button type="button" class="show-all" onClick={onRetry}>
            try again
          </button>
        </p>
      );
    default:
      return null;
  }
}

function Facts({ facts }: { facts: readonly (readonly [string, string])[] }) {
  return (
    <dl class="started-facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function rawText(item: Extract<Item, { kind: 'raw' }>): string {
  const { raw } = item.event;
  return typeof raw === 'string' ? raw : JSON.stringify(item.event, null, 2);
}

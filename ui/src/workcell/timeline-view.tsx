// The timeline: only the rows in view are drawn, each at its own place; below it, its foot.
import type { Signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef } from 'preact/hooks';
import { whole } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';
import { VirtualList } from '../core/virtual.ts';
import { ItemRow } from '../item/item-row.tsx';
import { Edge, Nothing } from './edge.tsx';
import { Foot } from './foot.tsx';
import { useKeys } from './keys.ts';
import { OpenItems } from './open-items.ts';
import { Rows } from './rows.ts';
import { Scroll } from './scroll.ts';
import { useWanted } from './wanted.ts';

/** Room above the first and below the last row, for what the edges have to say. */
const EDGE = 36;
/** How far beyond the view rows are drawn, and how near to an edge more is loaded. */
const AROUND = 600;

interface Props {
  timeline: Timeline;
  revision: Signal<number>;
  wanted: number | null;
  help: Signal<boolean>;
}

export function TimelineView({ timeline, revision, wanted, help }: Props) {
  void revision.value;
  const [, redraw] = useReducer((n: number, _: undefined) => n + 1, 0);
  const element = useRef<HTMLDivElement>(null);
  const again = () => redraw(undefined);
  const { list, scroll, open, rows } = useMemo(() => {
    const list = new VirtualList(56, EDGE);
    const scroll = new Scroll(list, again, () => timeline.attached);
    return { list, scroll, open: new OpenItems(), rows: new Rows(list, again) };
  }, [timeline]);
  const place = useWanted(timeline, list, wanted);
  const seen = useRef(0);
  const selected = useKeys({ timeline, scroll, open, help, redraw: again });

  const items = timeline.items;
  list.setKeys(items.map((item) => item.offset));
  timeline.stick(list.following);
  if (list.following) seen.current = timeline.window.head;
  const { from, to } = list.slice(list.scrollTop(scroll.viewport), scroll.viewport || 800, AROUND);

  useEffect(() => (element.current ? scroll.attach(element.current) : undefined), [scroll]);
  useEffect(() => () => rows.stop(), [rows]);
  useLayoutEffect(() => {
    if (rows.measure() || place()) return again();
    scroll.settle();
    const top = list.scrollTop(scroll.viewport);
    if (top < AROUND) void timeline.loadEarlier();
    if (list.total - top - scroll.viewport < AROUND) void timeline.loadLater();
  });

  const { window } = timeline;
  const news = Math.max(0, window.head - seen.current);
  const toEnd = () => {
    if (!timeline.attached) timeline.toEnd();
    scroll.follow();
  };
  return (
    <>
      <div
        class="timeline"
        ref={element}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard
        tabIndex={0}
        role="feed"
        aria-busy={timeline.loading !== null}
        aria-label="Timeline"
        data-testid="timeline"
        data-epoch={window.epoch}
        data-lo={window.lo}
        data-hi={window.hi}
        data-head={window.head}
        data-live={String(timeline.live)}
        data-following={String(list.following)}
      >
        <div class="canvas" style={{ height: `${list.total}px` }}>
          {items.length === 0 ? <Nothing timeline={timeline} /> : <Edge timeline={timeline} end={false} />}
          {items.slice(from, to).map((item, i) => (
            <ItemRow
              key={item.offset}
              item={item}
              revision={item.revision}
              top={list.top(from + i)}
              place={from + i + 1}
              count={window.head === window.hi ? items.length : -1}
              open={open.isOpen(item)}
              selected={selected === item.offset}
              marked={wanted !== null && timeline.itemAt(wanted) === item}
              workcell={timeline.workcell}
              rows={rows}
              onToggle={() => {
                open.toggle(item);
                again();
              }}
              onRetry={() => void timeline.jump(item.offset)}
            />
          ))}
          {items.length > 0 && <Edge timeline={timeline} end />}
        </div>
      </div>
      <Foot timeline={timeline} revision={revision}>
        {!list.following && items.length > 0 && (
          <button type="button" class="to-end" data-testid="to-end" onClick={toEnd}>
            {news > 0 ? `${whole(news)} new ↓` : 'to the end ↓'}
          </button>
        )}
      </Foot>
    </>
  );
}

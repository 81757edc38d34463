// The timeline: draws only the rows in view, each at its own place, and the foot below them.
import type { ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { RowProps } from '../common/row.ts';
import { whole } from '../core/format.ts';
import { Edge, Empty } from './edge.tsx';
import { Foot } from './foot.tsx';
import type { View } from './view.ts';

/** How far beyond the view rows are drawn, and how near to an edge more events are loaded, in pixels. */
const AROUND = 600;

interface Props {
  view: View;
  /** The offset that the address names. */
  wanted: number | null;
  Row: ComponentType<RowProps>;
}

export function TimelineView({ view, wanted, Row }: Props) {
  void view.revision.value;
  const element = useRef<HTMLDivElement>(null);
  const { timeline, list, scroll, rows, items, range } = view;
  const { from, to } = list.slice(list.scrollTop(scroll.viewport), scroll.viewport || 800, AROUND);

  useEffect(() => (element.current ? scroll.attach(element.current) : undefined), [scroll]);
  useLayoutEffect(() => {
    if (rows.measure() || view.place()) return view.refresh();
    scroll.settle();
    const top = list.scrollTop(scroll.viewport);
    if (top < AROUND) void timeline.loadEarlier();
    if (list.total - top - scroll.viewport < AROUND) void timeline.loadLater();
  });

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
        data-epoch={range.epoch}
        data-lo={range.lo}
        data-hi={range.hi}
        data-head={range.head}
        data-live={String(view.live)}
        data-following={String(list.following)}
      >
        <div class="canvas" style={{ height: `${list.total}px` }}>
          {items.length === 0 ? <Empty timeline={timeline} /> : <Edge timeline={timeline} end={false} />}
          {items.slice(from, to).map((item, i) => (
            <Row
              key={item.offset}
              item={item}
              revision={item.revision}
              top={list.top(from + i)}
              place={from + i + 1}
              count={range.head === range.hi ? items.length : -1}
              open={view.open.isOpen(item)}
              selected={view.selected === item.offset}
              marked={wanted !== null && timeline.itemAt(wanted) === item}
              workcell={timeline.workcell}
              onElement={rows.add}
              onToggle={() => view.toggle(item)}
              onRetry={() => void timeline.jump(item.offset)}
            />
          ))}
          {items.length > 0 && <Edge timeline={timeline} end />}
        </div>
      </div>
      <Foot timeline={timeline} revision={view.revision}>
        {!list.following && items.length > 0 && (
          <button type="button" class="to-end" data-testid="to-end" onClick={() => view.toEnd()}>
            {view.news > 0 ? `${whole(view.news)} new ↓` : 'to the end ↓'}
          </button>
        )}
      </Foot>
    </>
  );
}

// One row of the timeline: its title, time and permalink, and the body for its kind.

import { useLayoutEffect, useRef } from 'preact/hooks';
import type { RowProps } from '../common/row.ts';
import { clockTime, tokens, whole } from '../core/format.ts';
import { wholeLineUrl } from '../core/history.ts';
import { routeTo } from '../core/route.ts';
import { Body } from './body.tsx';
import { memo } from './memo.ts';
import { Title } from './title.tsx';

export function ItemRow(props: RowProps) {
  const { item, top, place, count, open, selected, marked } = props;
  const element = useRef<HTMLElement>(null);
  useLayoutEffect(
    () => (element.current ? props.onElement(item.offset, element.current) : undefined),
    [item.offset, props.onElement],
  );
  const classes = ['item', `item-${item.kind}`, selected && 'selected', marked && 'marked'];
  if ('abandoned' in item) classes.push('item-abandoned');
  if (item.kind === 'error' && item.retryable) classes.push('item-error-retryable');
  if (item.kind === 'output' && item.stream === 'stderr') classes.push('item-stderr');
  return (
    <article
      ref={element}
      class={classes.filter(Boolean).join(' ')}
      style={{ top: `${top}px` }}
      aria-posinset={place}
      aria-setsize={count}
      aria-current={selected ? 'true' : undefined}
      data-testid="item"
      data-kind={item.kind}
      data-offset={item.offset}
      data-depth={item.depth}
      {...(item.kind === 'call'
        ? { 'data-open': String(item.state === 'open'), 'data-state': item.state }
        : {})}
    >
      <Inside {...props} open={open} />
    </article>
  );
}

/** Everything but the row's place, drawn again only if its item has changed. */
const Inside = memo(
  ({ item: live, open, workcell, onToggle, onRetry }: RowProps) => {
    // A copy, because a component with its own state is drawn again only for a different object.
    const item = { ...live };
    return (
      <div class="item-inside" data-depth={Math.min(4, item.depth)}>
        <div class="item-head">
          <Title item={item} open={open} onToggle={onToggle} />
          <span class="item-notes">
            {item.usage !== undefined && item.kind !== 'usage' && (
              <span class="dim">{tokens(item.usage)}</span>
            )}
            {item.time !== null && <time class="dim">{clockTime(item.time)}</time>}
            <a class="permalink" href={routeTo(workcell, item.offset)} title={`Link to event ${item.offset}`}>
              #{item.offset}
            </a>
          </span>
        </div>
        <Body item={item} open={open} onRetry={onRetry} />
        {item.cut && (
          <p class="cut">
            truncated here: the whole line has {whole(item.cut.bytes)} bytes.{' '}
            <a href={wholeLineUrl(workcell, item.cut.offset)} target="_blank" rel="noopener noreferrer">
              show the whole line
            </a>
          </p>
        )}
      </div>
    );
  },
  (before, after) =>
    before.item === after.item && before.revision === after.revision && before.open === after.open,
);

// One row of the timeline: who, what, when, and the body of its kind.

import { useLayoutEffect, useRef } from 'preact/hooks';
import { clockTime, tokens, whole } from '../core/format.ts';
import { wholeLineUrl } from '../core/history.ts';
import type { Item } from '../core/item.ts';
import { routeTo } from '../core/route.ts';
import { memo } from '../memo.ts';
import type { Rows } from '../workcell/rows.ts';
import { Body } from './body.tsx';
import { Title } from './title.tsx';

interface Props {
  item: Item;
  /** The item changes in place: this says that it did. */
  revision: number;
  top: number;
  place: number;
  count: number;
  open: boolean;
  selected: boolean;
  marked: boolean;
  workcell: string;
  rows: Rows;
  onToggle: () => void;
  onRetry: () => void;
}

export function ItemRow(props: Props) {
  const { item, top, place, count, open, selected, marked } = props;
  const element = useRef<HTMLElement>(null);
  useLayoutEffect(
    () => (element.current ? props.rows.add(item.offset, element.current) : undefined),
    [item.offset, props.rows],
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

/** Apart from its place, a row changes only with its item. */
const Inside = memo(
  ({ item: live, open, workcell, onToggle, onRetry }: Props) => {
    // As it is now: a component with state of its own is drawn again only if what it is given is another object.
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
            cut on the way: the whole line has {whole(item.cut.bytes)} bytes.{' '}
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

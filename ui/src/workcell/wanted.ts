// The offset that the address names: brought into view once it is loaded.
import { useEffect, useRef } from 'preact/hooks';
import type { Timeline } from '../core/timeline.ts';
import type { VirtualList } from '../core/virtual.ts';

/** Returns what to do after each drawing; it says whether the view moved. */
export function useWanted(timeline: Timeline, list: VirtualList, wanted: number | null): () => boolean {
  const placed = useRef<number | null>(null);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else if (wanted !== null && timeline.itemAt(wanted) === null) {
      void timeline.jump(wanted).then(() => {
        if (wanted >= timeline.window.head) list.following = true;
      });
    }
  }, [timeline, wanted]);
  return () => {
    if (wanted === placed.current) return false;
    const item = wanted === null ? null : timeline.itemAt(wanted);
    if (wanted !== null && item === null) {
      // Beyond the end: the tail is shown instead, and stays when the log comes to grow so far.
      if (timeline.phase === 'shown' && timeline.live && wanted >= timeline.window.head)
        placed.current = wanted;
      return false;
    }
    placed.current = wanted;
    if (item !== null) list.place(item.offset, 96);
    return item !== null;
  };
}

// The contract between a timeline, which places rows, and the component that draws one.
import type { Item } from '../core/item.ts';

export interface RowProps {
  item: Item;
  /** Grows when the item changes, which happens in place. */
  revision: number;
  /** In pixels from the top of the list. */
  top: number;
  /** The 1-based position in the list, and the list's length (-1 if it is unknown). */
  place: number;
  count: number;
  open: boolean;
  selected: boolean;
  /** The address names this item. */
  marked: boolean;
  workcell: string;
  /** Registers the row's element to be measured; returns how to unregister it. */
  onElement: (offset: number, element: HTMLElement) => () => void;
  onToggle: () => void;
  /** Load the events of a gap again. */
  onRetry: () => void;
}

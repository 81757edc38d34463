// Which items are expanded: by their kind, until the user expands or collapses one.
import type { Item } from '../core/item.ts';

export class OpenItems {
  readonly #chosen = new Map<number, boolean>();

  isOpen(item: Item): boolean {
    return this.#chosen.get(item.offset) ?? openAtFirst(item);
  }

  toggle(item: Item): void {
    this.#chosen.set(item.offset, !this.isOpen(item));
  }
}

function openAtFirst(item: Item): boolean {
  switch (item.kind) {
    case 'thinking':
      return item.partial;
    case 'raw':
      return false;
    case 'call':
      return item.state === 'failed';
    default:
      return true;
  }
}

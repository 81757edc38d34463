// Folds slots into timeline items; appending k events costs O(k).
import type { KnownEvent, UsageEvent } from '../contract.ts';
import { Calls } from './calls.ts';
import { isKnownType, known, timeOf, truncatedBytes, type WireEvent } from './event.ts';
import type { Item, TextItem } from './item.ts';
import type { Slot } from './window.ts';

export class Fold {
  readonly items: Item[] = [];
  /** The item that each slot belongs to; parallel to the slots. */
  readonly owners: Item[] = [];
  readonly #calls = new Calls();
  readonly #blocks = new Map<string, TextItem>();
  readonly #texts = new Map<string, [block: number, item: TextItem][]>();
  readonly #growing = new Set<TextItem>();
  readonly #messages = new Map<string, Item>();

  /** Fold the next slot. */
  push(slot: Slot): void {
    const owner = this.#fold(slot);
    const bytes = slot.event === null ? null : truncatedBytes(slot.event);
    if (bytes !== null) owner.cut = { offset: slot.offset, bytes };
    this.owners.push(owner);
  }

  #fold(slot: Slot): Item {
    if (slot.event === null) {
      return this.#add({ ...start(slot, 0), kind: 'gap', until: slot.until, reason: slot.gap ?? '' });
    }
    const event = known(slot.event);
    if (event === null) {
      return this.#add({ ...start(slot, 0), kind: 'raw', why: whyRaw(slot.event), event: slot.event });
    }
    return this.#known(event, slot);
  }

  #known(event: KnownEvent, slot: Slot): Item {
    switch (event.type) {
      case 'response_chunk':
        return this.#text('answer', event, slot, true);
      case 'response_complete':
        return this.#text('answer', event, slot, false);
      case 'thinking':
        return this.#text('thinking', event, slot, event.partial === true);
      case 'usage':
        return this.#usage(event, slot);
      case 'prompt_sent':
        return this.#add({
          ...start(slot, 0),
          kind: 'prompt',
          text: event.prompt,
          role: 'user',
          partial: false,
        });
      case 'error':
        if (event.kind === 'stream_abandoned') this.#abandon(event);
        return this.#add({
          ...start(slot, 0),
          kind: 'error',
          error: event.error,
          what: event.kind ?? '',
          retryable: event.retryable === true,
        });
      case 'unknown':
        return this.#add({
          ...start(slot, 0),
          kind: 'raw',
          why: 'a line of the agent’s output',
          event,
        });
      case 'started': {
        this.#end();
        const toolchain = event.toolchain ?? 'agent';
        return this.#add({ ...start(slot, 0), kind: 'started', toolchain, facts: factsOf(event) });
      }
      case 'completed':
        this.#end();
        return this.#add({ ...start(slot, 0), kind: 'outcome', completed: event });
      default: {
        const [item, fresh] = this.#calls.fold(event, (depth) => start(slot, depth));
        return fresh ? this.#add(item) : item;
      }
    }
  }

  /** The agent has ended or another has started: open texts and calls are final. */
  #end(): void {
    this.#calls.end();
    for (const text of this.#growing) {
      text.partial = false;
      text.revision += 1;
    }
    this.#growing.clear();
  }

  #add<T extends Item>(item: T): T {
    this.items.push(item);
    return item;
  }

  /** Chunks grow one item; the complete text replaces their content. */
  #text(
    kind: 'answer' | 'thinking',
    event: Extract<KnownEvent, { type: 'response_chunk' | 'response_complete' | 'thinking' }>,
    slot: Slot,
    partial: boolean,
  ): Item {
    const id = event.message_id ?? null;
    const key = id === null ? null : `${kind} ${event.block ?? ''} ${id}`;
    const before = this.items.at(-1);
    const open =
      key !== null
        ? this.#blocks.get(key)
        : before?.kind === kind && before.partial
          ? (before as TextItem)
          : undefined;
    if (open?.partial) {
      open.text = partial ? open.text + event.content : event.content;
      open.partial = partial;
      open.revision += 1;
      if (!partial) this.#growing.delete(open);
      return open;
    }
    const parent = 'parent_call_id' in event ? (event.parent_call_id as string | null) : null;
    const depth = this.#calls.depthBelow(parent);
    const role = 'role' in event && typeof event.role === 'string' ? event.role : 'assistant';
    const item: TextItem = { ...start(slot, depth), kind, text: event.content, role, partial };
    if (partial) this.#growing.add(item);
    if (key !== null && partial) this.#blocks.set(key, item);
    if (id !== null) {
      this.#messages.set(id, item);
      const texts = this.#texts.get(id) ?? [];
      this.#texts.set(id, texts);
      texts.push([event.block ?? 0, item]);
    }
    return this.#add(item);
  }

  /** Mark the items of a message as abandoned, from one of its blocks on. */
  #abandon(event: Extract<KnownEvent, { type: 'error' }>): void {
    const id = event.message_id;
    const from = typeof event.from_block === 'number' ? event.from_block : 0;
    for (const [block, item] of typeof id === 'string' ? (this.#texts.get(id) ?? []) : []) {
      if (block < from) continue;
      item.abandoned = true;
      item.partial = false;
      item.revision += 1;
      this.#growing.delete(item);
    }
  }

  /** Attach a token count to the item of its message, or else to the last item of the agent. */
  #usage(event: UsageEvent, slot: Slot): Item {
    const last = this.items.at(-1);
    const near =
      last?.kind === 'answer' || last?.kind === 'thinking' || last?.kind === 'call' ? last : undefined;
    const owner = (event.message_id && this.#messages.get(event.message_id)) || near;
    if (owner && owner.usage === undefined) {
      owner.usage = event.usage;
      owner.revision += 1;
      return owner;
    }
    const depth = this.#calls.depthBelow(event.parent_call_id);
    return this.#add({ ...start(slot, depth), kind: 'usage', usage: event.usage });
  }
}

/** The fields that every item has. */
function start(slot: Slot, depth: number) {
  return { offset: slot.offset, depth, time: slot.event === null ? null : timeOf(slot.event), revision: 0 };
}

function whyRaw(event: WireEvent): string {
  if (event.type === 'malformed') return `a line that is not an event (${String(event.reason)})`;
  const type = String(event.type);
  return isKnownType(type)
    ? `a ${type} event with unexpected fields`
    : `an event of an unknown type: ${type}`;
}

function factsOf(event: Extract<KnownEvent, { type: 'started' }>): [string, string][] {
  const facts: [string, string | null | undefined][] = [
    ['model', event.model],
    ['version', event.agent_version],
    ['directory', event.cwd],
    ['commit', event.git_commit],
    ['session', event.session_id],
    ['issue', event.issue_id],
    ['rerun of', event.rerun_of],
  ];
  return facts.filter((fact): fact is [string, string] => typeof fact[1] === 'string' && fact[1] !== '');
}

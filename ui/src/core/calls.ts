// Pairs tool calls with their results, and gathers their commands, output and files.
import type { BashCommand, BashOutput, FileRead, FileWrite, ToolCall, ToolResult } from '../contract.ts';
import type { CallItem, FileTouch, Item } from './item.ts';

export type CallEvent = ToolCall | ToolResult | BashCommand | BashOutput | FileRead | FileWrite;
type Start = (depth: number) => { offset: number; depth: number; time: number | null; revision: number };

export class Calls {
  readonly #byId = new Map<string, CallItem>();
  /** Open calls without an id, in order; their results are paired by the tool's name. */
  #nameless: CallItem[] = [];
  readonly #open = new Set<CallItem>();

  /** Fold an event; returns its item, and whether the item is new. */
  fold(event: CallEvent, start: Start): [Item, boolean] {
    switch (event.type) {
      case 'tool_call':
        return [this.#call(event, start), true];
      case 'tool_result':
        return this.#result(event, start);
      default:
        return this.#detail(event, start);
    }
  }

  depthBelow(parent: string | null | undefined): number {
    const call = parent ? this.#byId.get(parent) : undefined;
    // The parent may lie before the window.
    return call ? call.depth + 1 : parent ? 1 : 0;
  }

  /** Mark the open calls as lost: their agent has ended, so they never get a result. */
  end(): void {
    for (const call of this.#open) {
      call.state = 'lost';
      call.revision += 1;
    }
    this.#open.clear();
    this.#nameless = [];
  }

  #call(event: ToolCall, start: Start): CallItem {
    const item = newCall(start(this.depthBelow(event.parent_call_id)), event.tool, event.args ?? null, false);
    if (event.call_id) this.#byId.set(event.call_id, item);
    else this.#nameless.push(item);
    this.#open.add(item);
    return item;
  }

  #result(event: ToolResult, start: Start): [Item, boolean] {
    const found = this.#find(event);
    const item =
      found ?? newCall(start(this.depthBelow(event.parent_call_id)), event.tool ?? 'a tool', null, true);
    if (found === undefined && event.call_id) this.#byId.set(event.call_id, item);
    item.result = event.result ?? null;
    // At an agent's end its open calls are closed by the adapter: the tool has not failed.
    const lost = event.unanswered === true;
    item.error = lost ? null : (event.error ?? null);
    item.durationMs = event.duration_ms ?? item.durationMs;
    item.exitCode = event.exit_code ?? item.exitCode;
    item.state = lost ? 'lost' : item.error !== null || (item.exitCode ?? 0) !== 0 ? 'failed' : 'ok';
    item.revision += 1;
    this.#open.delete(item);
    return [item, found === undefined];
  }

  #find(event: ToolResult): CallItem | undefined {
    if (event.call_id) return this.#byId.get(event.call_id);
    const at = this.#nameless.findLastIndex((call) => call.tool === (event.tool ?? call.tool));
    return at < 0 ? undefined : this.#nameless.splice(at, 1)[0];
  }

  #detail(event: BashCommand | BashOutput | FileRead | FileWrite, start: Start): [Item, boolean] {
    const call = event.call_id ? this.#byId.get(event.call_id) : undefined;
    if (call === undefined) return [standAlone(event, start(0)), true];
    call.revision += 1;
    if (event.type === 'bash_command') call.command = event.command;
    else if (event.type === 'bash_output') {
      call.output = (call.output ?? '') + event.output;
      call.exitCode = event.exit_code ?? call.exitCode;
      if ((call.exitCode ?? 0) !== 0 && call.state === 'ok') call.state = 'failed';
    } else call.files.push(touch(event));
    return [call, false];
  }
}

function newCall(start: ReturnType<Start>, tool: string, args: unknown, resultOnly: boolean): CallItem {
  return {
    ...start,
    kind: 'call',
    tool,
    args,
    resultOnly,
    state: 'open',
    result: null,
    error: null,
    command: null,
    output: null,
    exitCode: null,
    durationMs: null,
    files: [],
  };
}

function standAlone(event: BashCommand | BashOutput | FileRead | FileWrite, start: ReturnType<Start>): Item {
  if (event.type === 'bash_command') return { ...start, kind: 'command', command: event.command };
  if (event.type === 'bash_output') {
    const { output, stream = null, exit_code = null } = event;
    return { ...start, kind: 'output', output, stream, exitCode: exit_code };
  }
  return { ...start, kind: 'file', file: touch(event) };
}

function touch(event: FileRead | FileWrite): FileTouch {
  return {
    path: event.path,
    write: event.type === 'file_write',
    added: event.lines_added ?? null,
    removed: event.lines_removed ?? null,
    diff: event.diff ?? null,
  };
}

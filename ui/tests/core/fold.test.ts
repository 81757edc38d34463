import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { WireEvent } from '../../src/core/event.ts';
import { Fold } from '../../src/core/fold.ts';
import type { CallItem, Item } from '../../src/core/item.ts';

function push(fold: Fold, events: readonly WireEvent[]): Fold {
  for (const event of events) {
    const offset = fold.owners.length;
    fold.push({ offset, until: offset + 1, event, gap: null, bytes: 0 });
  }
  return fold;
}

const fold = (...events: WireEvent[]): readonly Item[] => push(new Fold(), events).items;
const chunk = (content: string, message_id?: string, block?: number) => ({
  type: 'response_chunk',
  content,
  ...(message_id && { message_id }),
  ...(block !== undefined && { block }),
});
const call = (tool: string, call_id?: string, more = {}) => ({ type: 'tool_call', tool, call_id, ...more });
const result = (tool: string, call_id?: string, more = {}) => ({
  type: 'tool_result',
  tool,
  call_id,
  ...more,
});

describe('answers', () => {
  test('grow by chunks of the same message and block, and are replaced by the complete text', () => {
    const items = fold(chunk('He', 'a', 0), chunk('other', 'a', 1), chunk('llo', 'a', 0), {
      type: 'response_complete',
      content: 'Hello!',
      message_id: 'a',
      block: 0,
    });
    expect(items).toMatchObject([
      { kind: 'answer', offset: 0, text: 'Hello!', partial: false },
      { kind: 'answer', offset: 1, text: 'other', partial: true },
    ]);
  });

  test('without ids join consecutive chunks and the complete text that follows', () => {
    const whole = { type: 'response_complete', content: 'ab.' };
    expect(fold(chunk('a'), chunk('b'), whole, whole)).toMatchObject([
      { text: 'ab.', offset: 0 },
      { text: 'ab.', offset: 3 },
    ]);
  });

  test('do not join across another event', () => {
    expect(fold(chunk('a'), { type: 'error', error: 'x' }, chunk('b'))).toHaveLength(3);
  });

  test('stop growing when the agent ends', () => {
    expect(fold(chunk('a', 'm'), { type: 'completed', status: 'failed' })[0]).toMatchObject({
      partial: false,
    });
  });
});

describe('an abandoned stream', () => {
  test('marks the items of its message from the given block on', () => {
    const items = fold(chunk('kept', 'm', 0), chunk('void', 'm', 1), {
      type: 'error',
      error: 'broke',
      kind: 'stream_abandoned',
      message_id: 'm',
      from_block: 1,
    });
    expect(items[0]).not.toHaveProperty('abandoned');
    expect(items[1]).toMatchObject({ abandoned: true, partial: false });
  });
});

describe('thinking', () => {
  test('grows by pieces until the complete text arrives', () => {
    const piece = (content: string) => ({
      type: 'thinking',
      content,
      message_id: 'm',
      block: 0,
      partial: true,
    });
    const items = fold(piece('I '), piece('think'), {
      type: 'thinking',
      content: 'I thought',
      message_id: 'm',
      block: 0,
    });
    expect(items).toMatchObject([{ kind: 'thinking', text: 'I thought', partial: false }]);
  });
});

describe('calls', () => {
  test('are paired with their results by id, in any order', () => {
    const items = fold(call('A', '1'), call('A', '2'), result('A', '2', { error: 'no' }), result('A', '1'));
    expect(items).toMatchObject([
      { tool: 'A', state: 'ok' },
      { tool: 'A', state: 'failed', error: 'no' },
    ]);
  });

  test('without ids are paired with the nearest open call of the same tool', () => {
    const items = fold(call('A'), call('B'), call('A'), result('A', undefined, { result: 1 }), result('B'));
    expect((items as CallItem[]).map((item) => item.state)).toEqual(['open', 'ok', 'ok']);
  });

  test('gather their command, output, exit code and files', () => {
    const items = fold(
      call('Bash', '1'),
      { type: 'bash_command', command: 'make', call_id: '1' },
      result('Bash', '1'),
      { type: 'bash_output', output: 'boom', exit_code: 2, call_id: '1' },
      { type: 'file_write', path: 'a.py', lines_added: 3, call_id: '1' },
    );
    expect(items).toMatchObject([
      { command: 'make', output: 'boom', exitCode: 2, state: 'failed', files: [{ path: 'a.py', added: 3 }] },
    ]);
  });

  test('are lost if the agent ends before they return', () => {
    const items = fold(call('A', '1'), call('B'), { type: 'completed', status: 'timeout' }, result('B'));
    expect(items.map((item) => item.kind)).toEqual(['call', 'call', 'outcome', 'call']);
    expect(items.slice(0, 2)).toMatchObject([{ state: 'lost' }, { state: 'lost' }]);
  });

  test('that an adapter closed when its agent ended are lost, whatever the words of their error', () => {
    const items = fold(
      call('A', '1'),
      result('A', '1', { error: 'the agent was stopped', unanswered: true }),
    );
    expect(items).toMatchObject([{ state: 'lost', error: null }]);
  });

  test('of logs from before that field have failed, with the error as logged', () => {
    const items = fold(call('A', '1'), result('A', '1', { error: 'no result: the agent ended' }));
    expect(items).toMatchObject([{ state: 'failed', error: 'no result: the agent ended' }]);
  });

  test('contain the items of their sub-agents', () => {
    const items = fold(call('Task', 't'), call('Grep', 'g', { parent_call_id: 't' }), {
      type: 'response_complete',
      content: 'x',
      parent_call_id: 'g',
    });
    expect(items.map((item) => item.depth)).toEqual([0, 1, 2]);
  });

  test('are marked if only their result is in the window', () => {
    expect(fold(result('A', '9'))).toMatchObject([{ kind: 'call', resultOnly: true, state: 'ok' }]);
  });
});

describe('other events', () => {
  test('output without a call shows its stream', () => {
    const items = fold(
      { type: 'bash_output', output: 'a', stream: 'stdout' },
      { type: 'bash_output', output: 'b', stream: 'stderr' },
      { type: 'bash_output', output: 'c' },
    );
    expect(items).toMatchObject([{ stream: 'stdout' }, { stream: 'stderr' }, { stream: null }]);
  });

  test('details without a call are items of their own', () => {
    const items = fold(
      { type: 'bash_command', command: 'ls' },
      { type: 'bash_output', output: 'a', exit_code: 0 },
      { type: 'file_read', path: 'x' },
    );
    expect(items.map((item) => item.kind)).toEqual(['command', 'output', 'file']);
  });

  test('a token count belongs to its message', () => {
    const usage = { type: 'usage', usage: { input_tokens: 3 }, message_id: 'm' };
    const items = fold({ type: 'response_complete', content: 'x', message_id: 'm' }, call('A', '1'), usage);
    expect(items).toMatchObject([{ usage: { input_tokens: 3 } }, { kind: 'call' }]);
    expect(items[1]?.usage).toBeUndefined();
  });

  test.each<[string, WireEvent]>([
    ['malformed lines', { type: 'malformed', reason: 'json', bytes: 3, raw: '{"a' }],
    ['unrecognized lines', { type: 'unknown', toolchain: 'claude', raw: '{}' }],
    ['unknown types', { type: 'hologram', depth: 3 }],
    ['known types with unexpected fields', { type: 'tool_call', tool: { name: 'x' } }],
    ['known types with a missing field', { type: 'prompt_sent' }],
    ['names of Object.prototype', { type: 'constructor' }],
  ])('%s are shown as they are', (_, event) => {
    expect(fold(event)).toMatchObject([{ kind: 'raw', event }]);
  });

  test('a truncated event names its whole line', () => {
    expect(fold({ type: 'bash_output', output: 'x…', truncated: { bytes: 99 } })[0]?.cut).toEqual({
      offset: 0,
      bytes: 99,
    });
  });

  test('a gap is an item of its own', () => {
    const gaps = new Fold();
    gaps.push({ offset: 3, until: 9, event: null, gap: 'pruned', bytes: 0 });
    expect(gaps.items).toMatchObject([{ kind: 'gap', offset: 3, until: 9, reason: 'pruned' }]);
  });
});

const id = fc.constantFrom(undefined, 'a', 'b');
const anyEvent: fc.Arbitrary<WireEvent> = fc.oneof(
  fc.record({
    type: fc.constantFrom('response_chunk', 'response_complete'),
    content: fc.string(),
    message_id: id,
  }),
  fc.record({ type: fc.constant('thinking'), content: fc.string(), message_id: id, partial: fc.boolean() }),
  fc.record({
    type: fc.constantFrom('tool_call', 'tool_result'),
    tool: fc.constantFrom('A', 'B'),
    call_id: id,
    parent_call_id: id,
  }),
  fc.record({ type: fc.constant('bash_output'), output: fc.string(), call_id: id }),
  fc.record({ type: fc.constant('usage'), usage: fc.constant({}), message_id: id }),
  fc.constantFrom<WireEvent>(
    { type: 'completed', status: 'success' },
    { type: 'started' },
    { type: 'new' },
    {},
  ),
);

describe('folding', () => {
  test('gives the same items in one go and in pieces', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), fc.nat(), (events, cut) => {
        const at = events.length === 0 ? 0 : cut % events.length;
        const inPieces = push(push(new Fold(), events.slice(0, at)), events.slice(at));
        expect(inPieces.items).toEqual(push(new Fold(), events).items);
      }),
    );
  });

  test('gives every event an item, and orders items by offset', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), (events) => {
        const { items, owners } = push(new Fold(), events);
        expect(owners).toHaveLength(events.length);
        expect(new Set(owners)).toEqual(new Set(items));
        const offsets = items.map((item) => item.offset);
        expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
      }),
    );
  });

  test('takes linear time', () => {
    const many = Array.from({ length: 200_000 }, (_, i) => chunk('word ', `m${i >> 9}`));
    const started = performance.now();
    push(new Fold(), many);
    // Linear time is some 50 ms here, quadratic time would be minutes.
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

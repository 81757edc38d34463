import { describe, expect, test } from 'vitest';
import { callParts } from '../../src/core/call-parts.ts';
import type { CallItem } from '../../src/core/item.ts';
import { callSubject } from '../../src/core/subject.ts';

function call(fields: Partial<CallItem>): CallItem {
  return {
    kind: 'call',
    tool: 'Bash',
    callId: 'c',
    args: null,
    command: null,
    output: null,
    result: null,
    error: null,
    files: [],
    ...fields,
  } as unknown as CallItem;
}

describe('the texts of a call', () => {
  test('what a failed command printed is said once, beside its exit code', () => {
    const failed = call({ error: 'Exit code 7\ntwo', output: 'two\n', result: 'Exit code 7\ntwo' });
    expect(callParts(failed)).toEqual({ args: null, error: 'Exit code 7', output: 'two\n', result: null });
  });

  test('an error that is nothing but the output leaves the output', () => {
    expect(callParts(call({ error: 'no such file', output: 'no such file' })).error).toBeNull();
  });

  test('an error without an output, or another than it, stands whole', () => {
    expect(callParts(call({ error: 'denied' })).error).toBe('denied');
    expect(callParts(call({ error: 'denied', output: ' \n' })).error).toBe('denied');
    expect(callParts(call({ error: 'denied', output: 'something else' })).error).toBe('denied');
  });
});

describe('what a call is about', () => {
  test.each([
    ["/bin/bash -lc 'cat README.md'", 'cat README.md'],
    [`/usr/bin/zsh -lc 'echo '\\''a'\\'''`, "echo 'a'"],
    ['bash -c "echo two; exit 3"', 'echo two; exit 3'],
    ["bash -lc 'one' && echo 'two' x", "bash -lc 'one' && echo 'two' x"],
    ['ls -l', 'ls -l'],
  ])('%s is told as %s', (command, told) => {
    expect(callSubject(call({ command }))).toBe(told);
  });
});

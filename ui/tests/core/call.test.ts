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
  test('show the output of a failed command once, and its exit code as the error', () => {
    const failed = call({ error: 'Exit code 7\ntwo', output: 'two\n', result: 'Exit code 7\ntwo' });
    expect(callParts(failed)).toEqual({ args: null, error: 'Exit code 7', output: 'two\n', result: null });
  });

  test('show only the output if the error repeats it', () => {
    expect(callParts(call({ error: 'no such file', output: 'no such file' })).error).toBeNull();
  });

  test('show an error that the output does not repeat', () => {
    expect(callParts(call({ error: 'denied' })).error).toBe('denied');
    expect(callParts(call({ error: 'denied', output: ' \n' })).error).toBe('denied');
    expect(callParts(call({ error: 'denied', output: 'something else' })).error).toBe('denied');
  });
});

describe('the subject of a call', () => {
  test.each([
    ["/bin/bash -lc 'cat README.md'", 'cat README.md'],
    [`/usr/bin/zsh -lc 'echo '\\''a'\\'''`, "echo 'a'"],
    ['bash -c "echo two; exit 3"', 'echo two; exit 3'],
    ["bash -lc 'one' && echo 'two' x", "bash -lc 'one' && echo 'two' x"],
    ['ls -l', 'ls -l'],
  ])('of %s is %s', (command, subject) => {
    expect(callSubject(call({ command }))).toBe(subject);
  });
});

// The texts of a tool call without repetition: results often repeat the output, arguments the command.
import type { CallItem } from './item.ts';

export interface CallParts {
  readonly args: string | null;
  readonly error: string | null;
  readonly output: string | null;
  readonly result: string | null;
}

export function callParts(call: CallItem): CallParts {
  const result = textOf(call.result);
  const { error, output } = call;
  const repeated = result === null || (output !== null && same(result, output)) || result === error;
  return {
    args: argumentsText(call),
    error: error !== null && output !== null ? withoutOutput(error, output) : error,
    output,
    result: repeated ? null : result,
  };
}

/** The last line that is not blank, cut to 400 characters. */
export function lastLine(text: string): string {
  return text.trimEnd().slice(-2_000).split('\n').at(-1)?.slice(0, 400) ?? '';
}

function argumentsText(call: CallItem): string | null {
  const { args, command } = call;
  if (args === null || args === undefined || args === '') return null;
  if (typeof args !== 'object') return String(args);
  const rest = Object.entries(args).filter(([, value]) => command === null || value !== command);
  if (rest.length === 0) return null;
  // Strings are shown as they are, not as JSON.
  return rest
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value, null, 2)}`)
    .join('\n');
}

/** A result as text; of content blocks of the Model Context Protocol, their texts. */
function textOf(value: unknown): string | null {
  if (value === null || value === undefined || value === '') return null;
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.length > 0 && value.every(isTextBlock)) {
    return value.map((block) => block.text).join('\n');
  }
  return JSON.stringify(value, null, 2);
}

function isTextBlock(value: unknown): value is { text: string } {
  return typeof value === 'object' && value !== null && 'text' in value && typeof value.text === 'string';
}

/** The error without the output: Claude Code appends the output of a failed command to its exit code. */
function withoutOutput(error: string, output: string): string | null {
  const printed = output.trim();
  const rest =
    printed !== '' && error.trim().endsWith(printed) ? error.trim().slice(0, -printed.length).trim() : error;
  return rest === '' ? null : rest;
}

function same(result: string, output: string): boolean {
  return result.trim() === output.trim();
}

// The texts of a tool call, each said once: an output is often repeated in the result, a command in the arguments.
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

/** The last line that says something. */
export function lastLine(text: string): string {
  return text.trimEnd().slice(-2_000).split('\n').at(-1)?.slice(0, 400) ?? '';
}

function argumentsText(call: CallItem): string | null {
  const { args, command } = call;
  if (args === null || args === undefined || args === '') return null;
  if (typeof args !== 'object') return String(args);
  const rest = Object.entries(args).filter(([, value]) => command === null || value !== command);
  if (rest.length === 0) return null;
  // A text is read as a text, not as a JSON string.
  return rest
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value, null, 2)}`)
    .join('\n');
}

/** A result as text; content blocks, as the Model Context Protocol has them, by their texts. */
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

/** Claude Code puts what a failed command printed behind its exit code; the output says it already. */
function withoutOutput(error: string, output: string): string | null {
  const said = output.trim();
  const rest =
    said !== '' && error.trim().endsWith(said) ? error.trim().slice(0, -said.length).trim() : error;
  return rest === '' ? null : rest;
}

function same(result: string, output: string): boolean {
  return result.trim() === output.trim();
}

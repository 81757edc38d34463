// A tool call: collapsed, the last line of its output; expanded, its arguments, output, files and result.
import type { ComponentChildren } from 'preact';
import { ansi } from '../core/ansi.ts';
import { callParts, lastLine } from '../core/call-parts.ts';
import type { CallItem } from '../core/item.ts';
import { LongText } from '../text/long-text.tsx';
import { VisibleText } from '../text/visible-text.tsx';
import { Diff } from './diff.tsx';
import { FileName } from './file-name.tsx';

export function CallBody({ call, open }: { call: CallItem; open: boolean }) {
  const { args, error, output, result } = callParts(call);
  if (!open) {
    const glance = call.error ?? output;
    return glance === null || glance.trim() === '' ? null : (
      <pre class="glance">
        <VisibleText text={plainText(lastLine(glance))} />
      </pre>
    );
  }
  return (
    <div class="call-body">
      {call.command !== null && <Part name="command">{<LongText text={call.command} lines={12} />}</Part>}
      {args !== null && <Part name="arguments">{<LongText text={args} lines={16} />}</Part>}
      {call.files.map((file) => (
        <Part name={file.write ? 'wrote' : 'read'} key={`${file.write} ${file.path}`}>
          <p class="file-line">
            <FileName file={file} />
          </p>
          {file.diff !== null && <Diff diff={file.diff} />}
        </Part>
      ))}
      {error !== null && <Part name="error">{<LongText text={error} lines={20} terminal />}</Part>}
      {output !== null && <Part name="output">{<LongText text={output} lines={24} terminal />}</Part>}
      {result !== null && <Part name="result">{<LongText text={result} lines={24} terminal />}</Part>}
    </div>
  );
}

function Part({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <section class="part">
      <h4>{name}</h4>
      {children}
    </section>
  );
}

function plainText(text: string): string {
  return ansi(text)
    .map((span) => span.text)
    .join('');
}

// Preformatted text of an agent: its first lines, and the rest on request.
import { useState } from 'preact/hooks';
import { ansi } from '../core/ansi.ts';
import { clip } from '../core/clip.ts';
import { counted } from '../core/format.ts';
import { VisibleText } from './visible-text.tsx';

interface Props {
  text: string;
  /** How many lines are shown at first. */
  lines?: number;
  /** Terminal output: colours are shown, other control sequences are dropped. */
  terminal?: boolean;
  prose?: boolean;
}

export function LongText({ text, lines = 16, terminal = false, prose = false }: Props) {
  const [all, setAll] = useState(false);
  const head = clip(text, lines);
  const shown = all ? text : head;
  return (
    <>
      <pre class={prose ? 'prose' : 'output'}>
        {terminal ? <Terminal text={shown} /> : <VisibleText text={shown} />}
      </pre>
      {head.length < text.length && (
        <button type="button" class="show-all" aria-expanded={all} onClick={() => setAll(!all)}>
          {all
            ? 'show less'
            : `show all (${counted(text.split('\n').length, 'line')}, ${counted(text.length, 'character')})`}
        </button>
      )}
    </>
  );
}

function Terminal({ text }: { text: string }) {
  return (
    <>
      {ansi(text).map((span, index) => (
        <span key={index} class={span.classes}>
          <VisibleText text={span.text} />
        </span>
      ))}
    </>
  );
}

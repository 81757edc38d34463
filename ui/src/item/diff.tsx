// A unified diff, line by line.
import { useState } from 'preact/hooks';
import { clip } from '../core/clip.ts';
import { VisibleText } from '../text/visible-text.tsx';

const LINES = 30;

export function Diff({ diff }: { diff: string }) {
  const [all, setAll] = useState(false);
  const head = clip(diff, LINES);
  const lines = (all ? diff : head).replace(/\n$/, '').split('\n');
  return (
    <>
      <pre class="output diff">
        {lines.map((line, index) => (
          <span key={index} class={`diff-line ${classOf(line)}`}>
            <VisibleText text={line === '' ? ' ' : line} />
          </span>
        ))}
      </pre>
      {head.length < diff.length && (
        <button type="button" class="show-all" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'show less' : 'show the whole diff'}
        </button>
      )}
    </>
  );
}

function classOf(line: string): string {
  if (line.startsWith('@@')) return 'diff-hunk';
  if (line.startsWith('+') && !line.startsWith('+++')) return 'diff-added';
  return line.startsWith('-') && !line.startsWith('---') ? 'diff-removed' : '';
}

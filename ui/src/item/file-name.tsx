// A file that an agent read or wrote, with the lines it added and removed.
import type { FileTouch } from '../core/item.ts';
import { VisibleText } from '../text/visible-text.tsx';

export function FileName({ file, figuresOnly = false }: { file: FileTouch; figuresOnly?: boolean }) {
  return (
    <>
      {!figuresOnly && (
        <span class="subject mono">
          <VisibleText text={file.path} />
        </span>
      )}
      {file.added !== null && <span class="added">+{file.added}</span>}
      {file.removed !== null && <span class="removed">−{file.removed}</span>}
    </>
  );
}

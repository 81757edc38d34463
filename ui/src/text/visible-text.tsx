// Text of an agent as text nodes, with hidden characters as labelled chips.
import { visible } from '../core/visible.ts';

export function VisibleText({ text }: { text: string }) {
  return (
    <>
      {visible(text).map((piece, index) =>
        piece.mark === null ? (
          piece.text
        ) : (
          <span class="hidden-character" key={index} title={piece.mark}>
            {piece.text}
          </span>
        ),
      )}
    </>
  );
}

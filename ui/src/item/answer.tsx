// An answer: plain text while it grows, light Markdown once it is complete.
import type { ComponentType } from 'preact';
import { useEffect, useErrorBoundary, useState } from 'preact/hooks';
import type { TextItem } from '../core/item.ts';
import { LongText } from '../text/long-text.tsx';

type Markdown = ComponentType<{ text: string }>;

/** Longer texts, in characters, would take the parser so long that scrolling stutters. */
const MAX_LENGTH = 40_000;
let loaded: Markdown | null = null;

export function Answer({ item }: { item: TextItem }) {
  // A text that the renderer fails on is shown as plain text.
  const [failure] = useErrorBoundary();
  const plain = failure !== undefined || item.partial || item.text.length > MAX_LENGTH;
  const [Markdown, setMarkdown] = useState(() => loaded);
  useEffect(() => {
    if (plain || Markdown !== null) return;
    let wanted = true;
    import('../text/markdown.tsx').then(
      (module) => {
        loaded = module.Markdown;
        if (wanted) setMarkdown(() => module.Markdown);
      },
      // The renderer may be gone after an update of the gateway; then the plain text stays.
      () => undefined,
    );
    return () => {
      wanted = false;
    };
  }, [plain, Markdown]);
  if (plain || Markdown === null) return <LongText text={item.text} lines={60} prose />;
  return <Markdown text={item.text} />;
}

// An answer: plain text while it grows, light Markdown once it is whole.

import type { ComponentType } from 'preact';
import { useEffect, useErrorBoundary, useState } from 'preact/hooks';
import type { TextItem } from '../core/item.ts';
import { LongText } from '../text/long-text.tsx';

type Markdown = ComponentType<{ text: string }>;

/** Beyond this the parser would be felt while scrolling. */
const MAX_LENGTH = 40_000;
let loaded: Markdown | null = null;

export function Answer({ item }: { item: TextItem }) {
  // A text that the renderer cannot take is still a text.
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
      // Without the renderer (the gateway was updated meanwhile) the text itself stays.
      () => undefined,
    );
    return () => {
      wanted = false;
    };
  }, [plain, Markdown]);
  if (plain || Markdown === null) return <LongText text={item.text} lines={60} prose />;
  return <Markdown text={item.text} />;
}

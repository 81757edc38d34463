// Light Markdown as nodes: no markup is made from strings, and images are named but not loaded.
import type { Nodes, Parents, Root } from 'mdast';
import { fromMarkdown } from 'mdast-util-from-markdown';
import { gfmFromMarkdown } from 'mdast-util-gfm';
import { gfm } from 'micromark-extension-gfm';
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import { safeLink } from '../core/safe-link.ts';
import { VisibleText } from './visible-text.tsx';

export function Markdown({ text }: { text: string }) {
  const root = useMemo<Root>(
    () => fromMarkdown(text, { extensions: [gfm()], mdastExtensions: [gfmFromMarkdown()] }),
    [text],
  );
  return <div class="markdown">{inside(root)}</div>;
}

function inside(parent: Parents): ComponentChildren {
  return (parent.children as Nodes[]).map(draw);
}

function draw(node: Nodes): ComponentChildren {
  switch (node.type) {
    case 'text':
      return <VisibleText text={node.value} />;
    case 'paragraph':
      return <p>{inside(node)}</p>;
    case 'heading':
      return <p class={`heading heading-${node.depth}`}>{inside(node)}</p>;
    case 'emphasis':
      return <em>{inside(node)}</em>;
    case 'strong':
      return <strong>{inside(node)}</strong>;
    case 'delete':
      return <del>{inside(node)}</del>;
    case 'inlineCode':
      return (
        <code>
          <VisibleText text={node.value} />
        </code>
      );
    case 'code':
      return (
        <pre class="output">
          <VisibleText text={node.value} />
        </pre>
      );
    case 'blockquote':
      return <blockquote>{inside(node)}</blockquote>;
    case 'list':
      return node.ordered ? <ol start={node.start ?? 1}>{inside(node)}</ol> : <ul>{inside(node)}</ul>;
    case 'listItem':
      return (
        <li>
          {node.checked == null ? null : node.checked ? '☑ ' : '☐ '}
          {inside(node)}
        </li>
      );
    case 'break':
      return <br />;
    case 'thematicBreak':
      return <hr />;
    case 'link':
      return <Link url={node.url}>{inside(node)}</Link>;
    case 'image':
      return (
        <span class="dim">
          [image: <VisibleText text={node.alt || node.url} />]
        </span>
      );
    case 'table':
      return (
        <div class="table-scroll">
          <table>
            <tbody>{inside(node)}</tbody>
          </table>
        </div>
      );
    case 'tableRow':
      return <tr>{inside(node)}</tr>;
    case 'tableCell':
      return <td>{inside(node)}</td>;
    default:
      // HTML, references and whatever else has no form here are shown as text.
      return 'children' in node ? inside(node) : 'value' in node ? <VisibleText text={node.value} /> : null;
  }
}

function Link({ url, children }: { url: string; children: ComponentChildren }) {
  const href = safeLink(url);
  if (href === null) return <span title={url}>{children}</span>;
  return (
    <a href={href} title={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

// A component that is drawn again only if its properties differ in what matters.
import { Component, type ComponentChildren, type FunctionComponent } from 'preact';

export function memo<P extends object>(
  draw: (props: P) => ComponentChildren,
  same: (before: P, after: P) => boolean,
): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      return !same(this.props as P, next);
    }
    override render() {
      return draw(this.props as P);
    }
  }
  return Memo as unknown as FunctionComponent<P>;
}

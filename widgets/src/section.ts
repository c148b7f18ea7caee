// The things of one noun below a heading that opens and closes; whether it is closed is remembered in this browser.

import type { Item } from './answers';
import { button, element, setText } from './dom';
import { ENDED, titleOf, worst } from './item';

const MEMORY = 'aiinfra-lab:closed';

export class Section {
  readonly node = element('section', 'aiinfra-Section');
  readonly list = element('ul');
  private readonly toggle: HTMLButtonElement;
  private readonly count = element('span', 'aiinfra-Section-count');
  private readonly sum = element('span', 'aiinfra-Section-sum');
  private readonly mark = element('span', 'aiinfra-Mark');

  constructor(
    readonly id: string,
    onToggle: () => void
  ) {
    this.toggle = button('aiinfra-Section-toggle', titleOf(id), () => {
      remember(id, this.isOpen);
      onToggle();
    });
    this.sum.append(this.mark);
    this.toggle.append(' ', this.count, ' ', this.sum);
    this.list.setAttribute('aria-label', titleOf(id));
    const heading = element('h3');
    heading.append(this.toggle);
    this.node.append(heading, this.list);
  }

  get isOpen(): boolean {
    return !closed.has(this.id);
  }

  /** How many things it has and how bad the worst is; whether they are shown. */
  update(items: Item[], isOpen: boolean): void {
    setText(this.count, String(items.length));
    const bad = this.id === ENDED ? undefined : worst(items);
    this.mark.dataset['tone'] = bad?.mark.tone ?? '';
    setText(this.mark, bad ? `${bad.mark.glyph} ${bad.count}` : '');
    this.mark.title = bad ? `${bad.count} ${bad.mark.word}` : '';
    this.toggle.setAttribute('aria-expanded', String(isOpen));
    this.list.hidden = !isOpen;
  }
}

const closed = new Set<string>(kept());

function kept(): string[] {
  try {
    const found: unknown = JSON.parse(window.localStorage.getItem(MEMORY) ?? '[]');
    return Array.isArray(found) ? found.map(String) : [];
  } catch {
    return []; // a browser that keeps nothing
  }
}

function remember(id: string, isClosed: boolean): void {
  if (isClosed) {
    closed.add(id);
  } else {
    closed.delete(id);
  }
  try {
    window.localStorage.setItem(MEMORY, JSON.stringify([...closed]));
  } catch {
    // Then it is as it was after a reload.
  }
}

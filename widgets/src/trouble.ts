// The banner between head and list: what went wrong, and what helps. While somebody points at the list it lies over the
// list instead of pushing it down, and leaves its room behind instead of letting it move up.

import { button, element, paragraph } from './dom';

export interface Trouble {
  title: string;
  lines: string[];
  /** What is ticked on beside the first line, and read out to nobody again and again. */
  age?: string;
  buttons?: { text: string; onClick: (pressed: HTMLButtonElement) => void }[];
}

export class Banner {
  readonly node = element('div', 'aiinfra-Panel-trouble');
  private readonly age = element('span');
  private shown = '';

  constructor(private readonly isHeld: () => boolean) {
    this.node.setAttribute('role', 'alert');
    this.node.dataset['tone'] = 'bad';
    this.age.setAttribute('aria-hidden', 'true');
  }

  show(trouble: Trouble): void {
    this.age.textContent = trouble.age ?? '';
    const text = JSON.stringify([trouble.title, trouble.lines, trouble.buttons?.map(each => each.text)]);
    if (text === this.shown) {
      return; // a screen reader reads it out each time
    }
    const wasShown = this.shown !== '';
    this.shown = text;
    const title = element('p');
    title.append(element('strong', '', `✕ ${trouble.title}`));
    const lines = trouble.lines.filter(Boolean).map(line => paragraph(line));
    lines[0]?.append(this.age);
    const actions = element('div', 'aiinfra-Actions');
    for (const each of trouble.buttons ?? []) {
      actions.append(button('aiinfra-Button', each.text, each.onClick));
    }
    this.node.replaceChildren(title, ...lines, ...(trouble.buttons ? [actions] : []));
    if (!wasShown) {
      this.node.classList.toggle('aiinfra-floating', this.isHeld() && !this.node.style.minHeight);
    }
  }

  clear(): void {
    if (this.shown === '') {
      return;
    }
    if (this.isHeld() && !this.node.classList.contains('aiinfra-floating')) {
      this.node.style.minHeight = `${this.node.offsetHeight}px`;
    }
    this.shown = '';
    this.node.replaceChildren();
  }

  /** Nobody points at the list any more: it may move. */
  settle(): void {
    this.node.style.minHeight = '';
    this.node.classList.remove('aiinfra-floating');
  }
}

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
  private shown = '[]';

  constructor(private readonly isHeld: () => boolean) {
    this.node.setAttribute('role', 'alert');
    this.node.dataset['tone'] = 'bad';
    this.age.setAttribute('aria-hidden', 'true');
  }

  /** Show these, or nothing. */
  show(troubles: Trouble[]): void {
    this.age.textContent = troubles[0]?.age ?? '';
    const text = JSON.stringify(troubles.map(each => ({ ...each, age: '' })));
    if (text === this.shown) {
      return; // a screen reader reads it out each time
    }
    const wasShown = this.node.firstChild !== null;
    if (wasShown && !troubles.length && this.isHeld() && !this.node.classList.contains('aiinfra-floating')) {
      this.node.style.minHeight = `${this.node.offsetHeight}px`;
    }
    this.shown = text;
    this.node.replaceChildren(...troubles.flatMap(each => this.parts(each)));
    this.node.querySelector('p + p')?.append(this.age);
    if (!wasShown) {
      this.node.classList.toggle('aiinfra-floating', this.isHeld() && !this.node.style.minHeight);
    }
  }

  /** Nobody points at the list any more: it may move. */
  settle(): void {
    this.node.style.minHeight = '';
    this.node.classList.remove('aiinfra-floating');
  }

  private parts({ title, lines, buttons = [] }: Trouble): HTMLElement[] {
    const head = element('p');
    head.append(element('strong', '', `✕ ${title}`));
    const actions = element('div', 'aiinfra-Actions');
    actions.append(...buttons.map(each => button('aiinfra-Button', each.text, each.onClick)));
    return [head, ...lines.filter(Boolean).map(line => paragraph(line)), ...(buttons.length ? [actions] : [])];
  }
}

// The question before an act, in the row of the thing that it is about: what ends, for whom, and what stays.

import type { Action, Item } from './answers';
import { button, element, paragraph } from './dom';

// A key or a button that is still being pressed from before answers nothing.
const ARMED_MS = 400;
let count = 0;

/** How it was answered: by the verb of an action, or not at all. */
export type Answered = (verb: string | undefined) => void;

export class Asking {
  readonly node = element('div', 'aiinfra-Confirm');
  private readonly keep: HTMLButtonElement;
  private readonly shownAt = performance.now();

  constructor(
    readonly item: Item,
    readonly action: Action,
    private readonly answered: Answered
  ) {
    const id = `aiinfra-ask-${(count += 1)}`;
    const question = element('p');
    const title = element('strong', '', action.question);
    title.id = id;
    question.append(title);
    const why = paragraph(action.consequence);
    why.id = `${id}-why`;
    this.node.setAttribute('role', 'alertdialog');
    this.node.setAttribute('aria-labelledby', title.id);
    this.node.setAttribute('aria-describedby', why.id);
    this.keep = button('aiinfra-Button', 'Keep it', () => this.answered(undefined));
    const buttons = element('div', 'aiinfra-Actions');
    buttons.append(this.keep);
    const milder = item.actions.find(other => other.verb === action.instead);
    if (milder) {
      buttons.append(this.answer('aiinfra-Button', milder));
    }
    buttons.append(this.answer('aiinfra-Button aiinfra-Button-sure', action));
    this.node.append(question, why, buttons);
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        this.answered(undefined);
      }
    });
  }

  focus(): void {
    this.keep.focus();
  }

  private answer(name: string, action: Action): HTMLButtonElement {
    return button(name, action.title, () => {
      if (performance.now() - this.shownAt > ARMED_MS) {
        this.answered(action.verb);
      }
    });
  }
}

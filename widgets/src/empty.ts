// What is shown where nothing runs: that nothing costs money, and what could be done first.

import type { Items, Shown, Signal, Step } from './answers';
import { button, copy, element, flash, paragraph } from './dom';

/** What the panel needs of JupyterLab around it. */
export interface Host {
  /** Put a line into a new cell of the open notebook; false when none is open. */
  insert(code: string): Promise<boolean>;
  open(path: string): Promise<void>;
  /** Have the launcher list the kernels that there are now. */
  listKernels(): void;
  /** Draw what a cell would show as a notebook draws it. */
  draw(shown: Shown): Promise<HTMLElement>;
  /** Tell the user of something that happened by itself, wherever he works. */
  notify(signal: Signal): void;
}

export class Empty {
  readonly node = element('div', 'aiinfra-Panel-empty');
  private shown = '';

  constructor(private readonly host: Host) {}

  show(answer: Items, isEmpty: boolean): void {
    if (!isEmpty) {
      this.hide();
      return;
    }
    const text = JSON.stringify([answer.hint, answer.steps]);
    if (text !== this.shown) {
      this.shown = text;
      this.node.replaceChildren(...(answer.hint ? this.nowhere(answer.hint) : this.nothing(answer.steps ?? [])));
    }
  }

  hide(): void {
    this.shown = '';
    this.node.replaceChildren();
  }

  private nowhere(hint: string): HTMLElement[] {
    return [element('h3', '', 'There is no workspace here yet.'), paragraph(hint)];
  }

  private nothing(steps: Step[]): HTMLElement[] {
    return [
      element('h3', '', 'Nothing is running, nothing costs money.'),
      paragraph('Sessions, runs and endpoints appear here. Each can be stopped, even while its kernel is busy.'),
      ...steps.map(step => this.step(step))
    ];
  }

  private step(step: Step): HTMLElement {
    const node = element('div', 'aiinfra-Start');
    const path = step.open;
    const does = path ? 'Open' : 'Insert';
    const start = button('aiinfra-Button', does, pressed => {
      void (path ? this.host.open(path) : this.insert(step.code, pressed));
    });
    start.setAttribute('aria-label', `${does} ${step.code}`);
    node.append(element('span', '', step.text), start, element('code', '', step.code));
    return node;
  }

  private async insert(code: string, pressed: HTMLButtonElement): Promise<void> {
    await insert(this.host, code, pressed);
  }
}

/** Put a line into a new cell of the open notebook, or copy it where there is none. */
export async function insert(host: Host, code: string, pressed: HTMLButtonElement): Promise<void> {
  if (await host.insert(code)) {
    flash(pressed, 'Inserted');
  } else {
    await copy(code, pressed);
  }
}

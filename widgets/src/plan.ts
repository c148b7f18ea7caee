// What the next run of a thing would do: the card that a notebook shows for `run --dry`, or why there is none.

import { element, mark, setText, why } from './dom';

export class Plan {
  readonly node = element('div', 'aiinfra-Item-plan');
  private readonly shown = element('div');
  private readonly state = element('p', 'aiinfra-Item-asof');
  /** The same for whoever listens: it is there from the start on, or nobody hears of it. */
  readonly heard = element('span', 'aiinfra-hidden');

  constructor() {
    this.node.hidden = true;
    this.heard.setAttribute('role', 'status');
    this.node.append(this.shown, this.state);
  }

  get isAwaited(): boolean {
    return this.node.getAttribute('aria-busy') === 'true';
  }

  /** An earlier one stays until there is a new one. */
  wait(): void {
    this.node.hidden = false;
    this.node.setAttribute('aria-busy', 'true');
    this.say('Looks what would run …', 'Looks what would run');
  }

  /** What a notebook would draw, and when it was found out. */
  show(card: HTMLElement, at: string): void {
    this.put(card);
    this.say(`as of ${at}`, card.querySelector('.aiinfra-lead')?.textContent ?? '');
  }

  complain(what: string, fix: string): void {
    this.put(why(mark('bad', '✕'), what), ...(fix ? [why(element('b', '', 'Fix:'), fix)] : []));
    this.say('', `${what} ${fix && `Fix: ${fix}`}`);
  }

  private put(...parts: HTMLElement[]): void {
    this.shown.replaceChildren(...parts);
    this.node.removeAttribute('aria-busy');
  }

  private say(seen: string, heard: string): void {
    setText(this.state, seen);
    setText(this.heard, heard);
  }
}

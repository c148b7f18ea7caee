// One thing of the list as an element that is kept and updated, so that the keyboard's focus survives every poll.

import type { Item } from './api';

const KINDS: Record<string, string> = {
  gpu: 'session',
  train: 'training run',
  deploy: 'endpoint',
  recipe: 'recipe run',
  data: 'data job',
  drift: 'watch'
};

export class Card {
  readonly node = element('li', 'aiinfra-Thing');
  private readonly name = element('strong', 'aiinfra-Thing-name');
  private readonly state = element('span', 'aiinfra-Thing-state');
  private readonly facts = element('p', 'aiinfra-Thing-facts');
  private readonly button = element('button', 'aiinfra-Thing-stop', 'Stop');
  private item: Item;

  constructor(item: Item, onStop: (card: Card) => void) {
    this.item = item;
    const title = element('p', 'aiinfra-Thing-title');
    title.append(this.name, ' ', this.state);
    this.button.type = 'button';
    this.button.addEventListener('click', () => {
      if (this.item.stoppable) {
        onStop(this);
      }
    });
    this.node.append(title, this.facts, this.button);
  }

  get thing(): Item {
    return this.item;
  }

  get focused(): boolean {
    return document.activeElement === this.button;
  }

  focus(): void {
    this.button.focus();
  }

  /** Show the item as it is at that moment of the server's clock. */
  update(item: Item, now: number): void {
    this.item = item;
    const live = isLive(item);
    this.node.dataset['state'] = item.state;
    setText(this.name, item.name);
    setText(this.state, item.state);
    setText(this.facts, facts(item, now));
    this.button.setAttribute('aria-label', `${item.state === 'stopping' ? 'Stopping' : 'Stop'} ${kind(item)} ${item.name}`);
    // Not `disabled`: that would take the focus away from whoever has just pressed it.
    this.button.setAttribute('aria-disabled', String(!item.stoppable));
    this.button.hidden = !live;
  }
}

export function isLive(item: Item): boolean {
  return ['starting', 'running', 'stopping'].includes(item.state);
}

export function kind(item: Item): string {
  return KINDS[item.noun] ?? 'job';
}

/** An element with one of our classes. */
export function element<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, text = ''): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

/** Touches the document only when something changed: a screen reader would read it again. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function facts(item: Item, now: number): string {
  const age = duration(now - item.since);
  const parts = [kind(item), isLive(item) ? `for ${age}` : `${age} ago`];
  if (item.deadline !== null && item.state === 'running') {
    parts.push(`ends in ${duration(item.deadline - now)}`);
  }
  return [...parts, item.detail].filter(Boolean).join(' · ');
}

function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) {
    return `${whole}\u00a0s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)}\u00a0min`;
  }
  const hours = Math.floor(whole / 3600);
  return hours < 48 ? `${hours}\u00a0h ${Math.floor((whole % 3600) / 60)}\u00a0min` : `${Math.floor(hours / 24)}\u00a0d`;
}

// One thing of the list: an element that is kept and updated, so that the keyboard's focus survives every look.

import type { Action, Item } from './answers';
import { Asking } from './asking';
import { Opened } from './details';
import { button, element, setAttribute, setText } from './dom';
import { ended } from './format';
import { kind, line } from './item';

/** What a row asks of whoever holds it. */
export interface Keeper {
  /** Open a row or close it; another one that is open is closed. */
  toggle(row: Row): void;
  /** A row is about to ask: another one that asks is answered with nothing. */
  asks(row: Row): void;
  /** Call a verb for the row's item. */
  call(row: Row, verb: string): void;
  /** Look what the next run of the row's item would do. */
  plan(row: Row): void;
  /** Put a line into the open notebook. */
  insert(code: string, pressed: HTMLButtonElement): void;
}

export class Row {
  readonly node = element('li', 'aiinfra-Item');
  private readonly glyph = element('span', 'aiinfra-Item-glyph');
  private readonly name = element('span', 'aiinfra-Item-name');
  private readonly value = element('span', 'aiinfra-Item-value');
  private readonly facts = element('span', 'aiinfra-Item-facts');
  private readonly text = element('span');
  private readonly opener: HTMLButtonElement;
  private readonly stopper: HTMLButtonElement;
  private progress: HTMLProgressElement | undefined;
  private opened: Opened | undefined;
  private asking: Asking | undefined;
  private asker: HTMLElement | undefined; // to which the focus goes back
  private work = '';
  private isEnded = false;

  constructor(
    private current: Item,
    private readonly keeper: Keeper
  ) {
    this.opener = button('aiinfra-Item-open', '', () => this.keeper.toggle(this));
    this.stopper = button('aiinfra-Item-stop', '', pressed => this.act('stop', pressed));
    this.glyph.setAttribute('aria-hidden', 'true');
    this.opener.setAttribute('aria-expanded', 'false');
    this.facts.append(this.text);
    this.opener.append(this.glyph, this.name, ' ', this.value, ' ', this.facts);
    const row = element('div', 'aiinfra-Item-row');
    row.append(this.opener, this.stopper);
    this.node.dataset['open'] = 'false';
    this.node.append(row);
  }

  get item(): Item {
    return this.current;
  }

  get isOpen(): boolean {
    return this.opened !== undefined;
  }

  get body(): Opened | undefined {
    return this.opened;
  }

  /** The item with what can be done with it now: while a verb is under way, only Stop. */
  get offered(): Item {
    const actions = this.current.actions.filter(action => !this.work || action.verb === 'stop');
    return { ...this.current, actions };
  }

  /** Where the row is, so that it can be kept there while others change above it. */
  get top(): number {
    return this.node.getBoundingClientRect().top;
  }

  /** Show the item as it is at that moment of the server's clock. */
  update(item: Item, now: number): void {
    this.current = item;
    setAttribute(this.node, 'data-tone', item.tone);
    setText(this.glyph, item.glyph);
    this.tick(now);
    const isStopping = item.state === 'stopping';
    const label = `${isStopping ? 'Stopping' : item.is_live ? 'Stop' : 'Stopped'} ${kind(item)} ${item.name}`;
    setAttribute(this.stopper, 'aria-label', label);
    setAttribute(this.stopper, 'title', label);
    // Not `disabled`: that would take the focus away from whoever has just pressed it.
    setAttribute(this.stopper, 'aria-disabled', String(!item.stoppable));
    this.opened?.offer(this.offered);
    if (this.asking && !this.canBe(this.asking.action.verb)) {
      this.answer(undefined); // it has ended, or somebody else has asked it to
    }
  }

  /** Show what the passing time changes. */
  tick(now: number): void {
    const { progress, figure } = this.current;
    const text = this.work || line(this.current, now);
    // Below "Recently ended" no heading says which noun a name is of.
    show(this.name, this.isEnded ? this.current.uri : this.current.name);
    show(this.value, this.isEnded ? ended(this.current.since, now) : figure);
    setText(this.text, this.isEnded ? [this.current.word, this.current.detail].filter(Boolean).join(', ') : text);
    setAttribute(this.facts, 'title', text);
    if (this.isEnded || !progress) {
      this.progress?.remove();
      this.progress = undefined;
      return;
    }
    if (!this.progress) {
      this.progress = element('progress');
      this.progress.setAttribute('aria-hidden', 'true'); // the text beside it says the same
      this.facts.prepend(this.progress);
    }
    [this.progress.value, this.progress.max] = progress;
  }

  /** Take one line, as what has ended does in its own section; stand below what it belongs to. */
  place(isEnded: boolean, isMember: boolean, now: number): void {
    this.node.classList.toggle('aiinfra-Item-member', isMember && !isEnded);
    if (this.isEnded !== isEnded) {
      this.isEnded = isEnded;
      this.node.classList.toggle('aiinfra-Item-ended', isEnded);
      this.facts.classList.toggle('aiinfra-hidden', isEnded);
      this.stopper.hidden = isEnded;
      this.tick(now);
    }
  }

  open(isOpen: boolean): void {
    if (isOpen && !this.opened) {
      this.opened = new Opened({
        act: (verb, pressed) => this.act(verb, pressed),
        plan: () => this.keeper.plan(this),
        insert: (code, pressed) => this.keeper.insert(code, pressed)
      });
      this.opened.offer(this.offered);
      this.node.append(this.opened.node);
    } else if (!isOpen) {
      this.opened?.node.remove();
      this.opened = undefined;
    }
    this.mark();
  }

  /** It is no item any more: nothing can be done with it for as long as it is still seen. */
  leave(): void {
    this.update({ ...this.current, stoppable: false, actions: [] }, this.current.since);
  }

  /** Say what is being done until it is done. */
  working(text: string, now: number): void {
    this.work = text;
    this.update(this.current, now);
  }

  /** Answer what it asks, if it asks; the focus goes back to where the question came from. */
  answer(verb: string | undefined): void {
    const { asking } = this;
    if (!asking) {
      return;
    }
    const hadFocus = asking.node.contains(document.activeElement);
    this.asking = undefined;
    asking.node.remove();
    if (this.opened) {
      this.opened.node.hidden = false;
    }
    this.mark();
    if (hadFocus) {
      (verb === undefined && this.asker?.isConnected ? this.asker : this.stopper).focus();
    }
    if (verb !== undefined) {
      this.keeper.call(this, verb);
    }
  }

  private act(verb: string, pressed: HTMLElement): void {
    if (this.asking) {
      this.asking.focus();
      return;
    }
    if (!this.canBe(verb)) {
      return; // it is ending already
    }
    const action = this.current.actions.find(each => each.verb === verb);
    if (action) {
      this.ask(action, pressed);
    } else {
      this.keeper.call(this, verb);
    }
  }

  private canBe(verb: string): boolean {
    return verb === 'stop' ? this.current.stoppable : this.offered.actions.some(action => action.verb === verb);
  }

  private ask(action: Action, pressed: HTMLElement): void {
    this.keeper.asks(this);
    this.asker = pressed;
    this.asking = new Asking(this.current, action, verb => this.answer(verb));
    if (this.opened) {
      this.opened.node.hidden = true;
    }
    this.node.append(this.asking.node);
    this.mark();
    this.asking.focus();
  }

  private mark(): void {
    setAttribute(this.node, 'data-open', String(Boolean(this.opened ?? this.asking)));
    setAttribute(this.opener, 'aria-expanded', String(this.isOpen));
  }
}

/** A text that may be cut at its end, whole on hovering. */
function show(node: HTMLElement, text: string): void {
  setText(node, text);
  setAttribute(node, 'title', text);
}

// What an opened row shows: the thing's facts, why it failed, its curve, the end of its log, and what can be done.

import type { Arm, Details, Fact, Item } from './answers';
import { button, copy, element, mark, paragraph, put, why } from './dom';
import { Plan } from './plan';

/** What the buttons of an opened row do. */
export interface Doing {
  /** Ask about an action, or do what need not be asked about. */
  act(verb: string, pressed: HTMLElement): void;
  /** Show what its next run would do. */
  plan(): void;
  /** Put a line into the open notebook, or copy it where there is none. */
  insert(code: string, pressed: HTMLButtonElement): void;
}

/** A button below what is told. */
interface Offered {
  key: string;
  text: string;
  isDanger?: boolean;
  press(pressed: HTMLButtonElement): void;
}

export class Opened {
  readonly node = element('div', 'aiinfra-Item-body');
  readonly plan = new Plan();
  private readonly told = element('div', 'aiinfra-Item-told');
  private readonly actions = element('div', 'aiinfra-Actions');
  private shown = '';
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private example = '';
  private code = '';
  private hasPlan = false;

  constructor(private readonly doing: Doing) {
    this.told.append(element('p', 'aiinfra-Item-wait', 'Looks closer …'));
    this.node.append(this.told, this.plan.node, this.plan.heard, this.actions);
  }

  get isEmpty(): boolean {
    return this.shown === '';
  }

  /** Show what was answered; nothing is touched when that is what is shown. */
  show(item: Item, details: Details): void {
    const text = JSON.stringify(details);
    if (text !== this.shown) {
      const isLogOpen = this.told.querySelector('details')?.open ?? !item.is_live;
      this.shown = text;
      this.example = details.example;
      this.code = details.code ?? '';
      this.hasPlan = details.has_plan ?? false;
      this.told.replaceChildren(...parts(item, details, isLogOpen));
    }
    this.offer(item);
  }

  complain(what: string): void {
    this.told.replaceChildren(paragraph(what));
    this.shown = ' ';
  }

  /** The buttons, as they are true of the item now: one that stays is kept, and the focus with it. */
  offer(item: Item): void {
    const act = (verb: string, text: string, isDanger = false): Offered => ({
      key: `${verb} ${text}`,
      text,
      isDanger,
      press: pressed => this.doing.act(verb, pressed)
    });
    const copied: Offered = { key: 'copy', text: 'Copy curl', press: pressed => void copy(this.example, pressed) };
    const inserted: Offered = { key: 'insert', text: 'Get outputs', press: pressed => this.doing.insert(this.code, pressed) };
    const planned: Offered = { key: 'plan', text: 'Plan of the next run', press: () => this.doing.plan() };
    const stop = item.actions.some(action => action.verb === 'stop') ? 'Stop…' : 'Stop';
    const offered = [
      ...(this.example ? [copied] : []),
      ...(this.code ? [inserted] : []),
      ...(this.hasPlan ? [planned] : []),
      ...item.actions.filter(action => action.verb !== 'stop').map(action => act(action.verb, `${action.title}…`)),
      ...(item.stoppable ? [act('stop', stop, true)] : [])
    ];
    const hadFocus = this.actions.contains(document.activeElement);
    for (const [key, gone] of [...this.buttons].filter(([each]) => !offered.some(other => other.key === each))) {
      gone.remove();
      this.buttons.delete(key);
    }
    for (const [at, { key, text, isDanger, press }] of offered.entries()) {
      const node = this.buttons.get(key) ?? button(`aiinfra-Button${isDanger ? ' aiinfra-Button-danger' : ''}`, text, press);
      this.buttons.set(key, node);
      put(this.actions, node, at);
    }
    if (hadFocus && !this.actions.contains(document.activeElement)) {
      this.node.closest('.aiinfra-Item')?.querySelector<HTMLElement>('.aiinfra-Item-open')?.focus();
    }
  }
}

function parts(item: Item, details: Details, isLogOpen: boolean): HTMLElement[] {
  const found: HTMLElement[] = [];
  if (details.problem) {
    const state = item.is_live ? mark('bad', '✕') : mark(item.tone, `${item.glyph} ${item.word}`);
    found.push(why(state, details.problem));
  }
  if (details.fix) {
    found.push(why(element('b', '', 'Fix:'), details.fix));
  }
  if (details.arms.length) {
    found.push(arms(details.columns, details.arms), split(details.arms));
  }
  if (details.facts.length) {
    found.push(list(details.facts));
  }
  if (details.url) {
    found.push(paragraph(`\`${details.url}\``, 'aiinfra-Item-url'));
  }
  if (details.picture) {
    const picture = element('img', 'aiinfra-Item-picture');
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(details.picture)}`;
    picture.alt = details.picture_alt;
    found.push(picture);
  }
  if (details.log) {
    found.push(log(item, details.log, isLogOpen));
  }
  return found;
}

function arms(columns: string[], rows: Arm[]): HTMLTableElement {
  const table = element('table', 'aiinfra-Arms');
  const head = table.createTHead().insertRow();
  for (const name of ['arm', ...columns]) {
    const cell = element('th', roomy(name), name);
    cell.scope = 'col';
    head.append(cell);
  }
  const body = table.createTBody();
  for (const arm of rows) {
    const row = body.insertRow();
    const name = row.insertCell();
    name.title = `${arm.uri}, ${arm.role}`;
    name.append(element('span', `aiinfra-Key aiinfra-Key-${arm.role}`), arm.uri.replace(/^\w+:/, ''));
    arm.cells.forEach((text, place) => row.append(element('td', roomy(columns[place] ?? ''), text)));
  }
  return table;
}

/** Second-rank columns go first where it is narrow. */
function roomy(column: string): string {
  return column === 'p99' ? 'aiinfra-roomy' : '';
}

function split(rows: Arm[]): HTMLElement {
  const bar = element('div', 'aiinfra-Split');
  bar.setAttribute('role', 'img');
  bar.setAttribute('aria-label', rows.map(arm => `${arm.cells[0]} ${arm.role}`).join(', '));
  for (const arm of rows.filter(each => each.share > 0 && each.role !== 'shadow')) {
    const part = element('span', `aiinfra-Split-${arm.role}`);
    part.style.flex = String(arm.share * 100);
    bar.append(part);
  }
  return bar;
}

function list(facts: Fact[]): HTMLElement {
  const found = element('dl');
  let value: HTMLElement | undefined;
  for (const fact of facts) {
    if (fact.label || !value) {
      value = element('dd');
      found.append(element('dt', '', fact.label), value);
    } else {
      value.append(element('br'));
    }
    value.append(fact.value);
    value.title = `${value.title} ${fact.value}`.trim();
    if (fact.mark) {
      value.append(fact.value ? ' ' : '', mark(fact.mark.tone, `${fact.mark.glyph} ${fact.mark.word}`));
    }
    if (typeof fact.share === 'number') {
      value.append(meter(fact.share, `${fact.label}: ${fact.value}`));
    }
  }
  return found;
}

/** The text before it says the same; from four fifths on it looks as if it soon were all. */
function meter(share: number, text: string): HTMLMeterElement {
  const found = element('meter');
  [found.max, found.high, found.value] = [1, 0.8, share];
  found.setAttribute('aria-label', text);
  return found;
}

function log(item: Item, text: string, isOpen: boolean): HTMLElement {
  const fold = element('details', 'aiinfra-Item-log');
  fold.open = isOpen;
  const printed = element('pre', 'aiinfra-Log', text);
  printed.tabIndex = 0; // it scrolls
  printed.setAttribute('role', 'group');
  printed.setAttribute('aria-label', `The end of the log of ${item.name}`);
  fold.append(element('summary', '', 'Log'), printed);
  return fold;
}

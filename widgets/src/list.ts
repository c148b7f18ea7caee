// The sections and their rows. While the pointer is over the list or the focus is in it, nothing moves: what changes
// changes where it is, and what is new comes at the end, below a heading of its own. The order is made anew once nobody
// points at it. Rows are built a few at a time, from the top down, so that no task is long and nothing that is there
// moves while they come.

import type { Item } from './answers';
import { element, put } from './dom';
import { ARRIVED, ENDED, grouped, inOrder, matches, ORDER, sectionOf } from './item';
import { Row, type Keeper } from './row';
import { Section } from './section';

const SLICE_MS = 8;

interface Plan {
  section: Section;
  items: Item[];
}

export class List {
  readonly node = element('div', 'aiinfra-Panel-list');
  private readonly items = new Map<string, Item>();
  private readonly rows = new Map<string, Row>();
  private readonly sections = new Map<string, Section>();
  /** Where each thing was put when the order was last made. */
  private placed = new Map<string, string>();
  private filter = '';
  private building: Generator<void> | undefined;
  private isPointed = false;

  constructor(
    private readonly keeper: Keeper,
    private readonly now: () => number,
    private readonly released: () => void
  ) {
    this.node.addEventListener('pointerenter', () => (this.isPointed = true));
    this.node.addEventListener('pointerleave', () => {
      this.isPointed = false;
      this.letGo();
    });
    this.node.addEventListener('focusout', () => window.setTimeout(() => this.letGo()));
    this.node.addEventListener('keydown', event => this.walk(event));
  }

  get size(): number {
    return this.items.size;
  }

  get all(): Item[] {
    return [...this.items.values()];
  }

  get(job: string): Item | undefined {
    return this.items.get(job);
  }

  get openRow(): Row | undefined {
    return [...this.rows.values()].find(row => row.isOpen);
  }

  get allRows(): Iterable<Row> {
    return this.rows.values();
  }

  /** Whether somebody points at it, by the pointer or the focus. */
  get isHeld(): boolean {
    return this.isPointed || this.node.contains(document.activeElement);
  }

  /** Take in what has changed and what is gone: all else, when that is everything there is. What is new in it. */
  take(changed: Item[], gone: string[], isEverything: boolean): Item[] {
    const known = new Set(changed.map(item => item.job));
    for (const job of isEverything ? [...this.items.keys()].filter(each => !known.has(each)) : gone) {
      this.items.delete(job);
      this.rows.get(job)?.leave();
    }
    const fresh = changed.filter(item => !this.items.has(item.job));
    for (const item of changed) {
      this.items.set(item.job, item);
      this.rows.get(item.job)?.update(item, this.now());
    }
    this.arrange();
    return fresh;
  }

  /** Show an item as something else than the server has said, until it says more. */
  show(item: Item): void {
    this.items.set(item.job, item);
    this.rows.get(item.job)?.update(item, this.now());
  }

  /** Show what the passing time changes. */
  tick(): void {
    const now = this.now();
    for (const row of this.rows.values()) {
      row.tick(now);
    }
  }

  /** Show only what has these words. */
  search(filter: string): void {
    this.filter = filter.trim().toLowerCase();
    this.order();
  }

  /** Make the order anew, unless somebody points at it: then only what is new is put in, at the end. */
  arrange(): void {
    if (!this.isHeld) {
      this.order();
      return;
    }
    const arrived = this.all.filter(item => !this.placed.has(item.job) && this.isFound(item));
    for (const [id, section] of this.sections) {
      const there = this.all.filter(item => this.placed.get(item.job) === id);
      if (there.length) {
        section.update(there, this.isShown(section));
      }
    }
    if (arrived.length) {
      const section = this.section(ARRIVED);
      const before = [...section.list.children].map(node => this.keyOf(node));
      arrived.sort((a, b) => a.since - b.since);
      const late = arrived.filter(item => !before.includes(item.job));
      section.update(arrived, true);
      this.node.append(section.node);
      section.list.append(...late.map(item => this.row(item).node));
    }
  }

  private letGo(): void {
    if (!this.isHeld) {
      this.order();
      this.released();
    }
  }

  private order(): void {
    const plans: Plan[] = [];
    const found = this.all.filter(item => this.isFound(item)).sort(inOrder);
    this.placed = new Map(this.all.map(item => [item.job, sectionOf(item)]));
    for (const id of ORDER.filter(each => each !== ARRIVED)) {
      const own = found.filter(item => sectionOf(item) === id);
      const items = id === ENDED ? own : grouped(own);
      if (items.length) {
        plans.push({ section: this.section(id), items });
      }
    }
    for (const job of [...this.rows.keys()].filter(each => !this.items.has(each))) {
      this.rows.get(job)?.node.remove();
      this.rows.delete(job);
    }
    const wanted = new Set(plans.map(plan => plan.section));
    for (const section of this.sections.values()) {
      if (!wanted.has(section)) {
        section.node.remove();
      }
    }
    this.building = this.build(plans);
    this.proceed(this.building);
  }

  /** Build for a while, and go on in a later task. */
  private proceed(building: Generator<void>): void {
    const until = performance.now() + SLICE_MS;
    while (this.building === building) {
      if (building.next().done) {
        this.building = undefined;
      } else if (performance.now() > until) {
        window.setTimeout(() => this.proceed(building));
        return;
      }
    }
  }

  private *build(plans: Plan[]): Generator<void> {
    for (const [place, { section, items }] of plans.entries()) {
      const isShown = this.isShown(section);
      section.update(items, isShown);
      put(this.node, section.node, place);
      const rows = isShown ? items : [];
      const wanted = new Set(rows.map(item => item.job));
      for (const node of [...section.list.children].filter(each => !wanted.has(this.keyOf(each)))) {
        node.remove();
      }
      const heads = new Set(rows.map(item => item.uri));
      for (const [at, item] of rows.entries()) {
        const row = this.row(item);
        row.place(section.id === ENDED, heads.has(item.group), this.now());
        put(section.list, row.node, at);
        yield;
      }
    }
  }

  private row(item: Item): Row {
    let row = this.rows.get(item.job);
    if (!row) {
      row = new Row(item, this.keeper);
      row.node.dataset['key'] = item.job;
      row.update(item, this.now());
      this.rows.set(item.job, row);
    }
    return row;
  }

  private section(id: string): Section {
    let section = this.sections.get(id);
    if (!section) {
      section = new Section(id, () => this.order());
      this.sections.set(id, section);
    }
    return section;
  }

  private isShown(section: Section): boolean {
    return section.isOpen || this.filter !== '';
  }

  private isFound(item: Item): boolean {
    return this.filter === '' || matches(item, this.filter);
  }

  private keyOf(node: Element): string {
    return (node as HTMLElement).dataset['key'] ?? '';
  }

  /** The arrow keys lead from row to row. */
  private walk(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const from = event.target instanceof Element ? event.target : null;
    if (!step || !from?.closest('.aiinfra-Item-row, .aiinfra-Section-toggle')) {
      return;
    }
    const stops = '.aiinfra-Section-toggle, .aiinfra-Section > ul:not([hidden]) .aiinfra-Item-open';
    const all = [...this.node.querySelectorAll<HTMLElement>(stops)];
    const own = from.closest('.aiinfra-Item-row')?.querySelector('.aiinfra-Item-open') ?? from;
    all[all.indexOf(own as HTMLElement) + step]?.focus();
    event.preventDefault();
  }
}

// What can be told of an item without the document: its section, its order, and its line of facts.

import type { Item, Mark } from './answers';
import { duration } from './format';

/** A state of ours alone: the request is on its way, or written, and nobody has ended anything yet. */
const STOPPING: Mark = { glyph: '◐', word: 'stopping', tone: 'busy' };

// Sessions and endpoints first: they cost.
const SECTIONS: Record<string, [title: string, thing: string]> = {
  gpu: ['Sessions', 'session'],
  deploy: ['Endpoints', 'endpoint'],
  train: ['Training runs', 'training run'],
  drift: ['Drift', 'verdict'],
  recipe: ['Recipes', 'recipe run'],
  data: ['Data', 'data job'],
  features: ['Features', 'feature job'],
  models: ['Models', 'model job']
};
const OTHER: [string, string] = ['Other', 'job'];
export const ENDED = 'ended';
export const ARRIVED = 'arrived';
export const ORDER = [...Object.keys(SECTIONS), 'other', ENDED, ARRIVED];
const TITLES: Record<string, string> = { [ENDED]: 'Recently ended', [ARRIVED]: 'New' };
const TROUBLE = ['bad', 'warn', 'unsure'];

export function titleOf(section: string): string {
  return TITLES[section] ?? (SECTIONS[section] ?? OTHER)[0];
}

export function sectionOf(item: Item): string {
  return !item.is_live ? ENDED : item.noun in SECTIONS ? item.noun : 'other';
}

/** What kind of thing it is, in the singular. */
export function kind(item: Item): string {
  return item.kind || (SECTIONS[item.noun] ?? OTHER)[1];
}

export function asStopping(item: Item): Item {
  return { ...item, ...STOPPING, state: 'stopping', stoppable: false, actions: [] };
}

/** The answer to its Stop was lost: it may be ending. */
export function asPerhapsStopping(item: Item): Item {
  return { ...asStopping(item), facts: [], detail: 'not known yet whether the request arrived' };
}

/** In a section: trouble first, then newest; of what has ended the last is first. */
export function inOrder(a: Item, b: Item): number {
  return (a.is_live ? rank(a) - rank(b) : 0) || b.since - a.since || a.job.localeCompare(b.job);
}

/** In their order, but what belongs to another one of them right below it: a group stands where its first would. */
export function grouped(items: Item[]): Item[] {
  const heads = new Map(items.map(item => [item.uri, item]));
  const groups = new Map<Item, Item[]>();
  for (const item of items) {
    const head = heads.get(item.group) ?? item;
    const members = groups.get(head) ?? [];
    groups.set(head, head === item ? members : [...members, item]);
  }
  return [...groups].flatMap(([head, members]) => [head, ...members]);
}

/** The state that somebody should look at first, and how many things share it; none unless one is in trouble. */
export function worst(items: Item[]): { mark: Mark; count: number } | undefined {
  const mark = items.filter(item => item.tone === 'bad' || item.tone === 'warn').sort((a, b) => rank(a) - rank(b))[0];
  return mark && { mark, count: items.filter(item => item.glyph === mark.glyph && item.tone === mark.tone).length };
}

/** Its second line: the state's word, then what is worth knowing. */
export function line(item: Item, now: number): string {
  const age = duration(now - item.since);
  const soon = item.word === 'ends soon';
  const left = item.deadline !== null && item.state !== 'stopping' ? `ends in ${duration(item.deadline - now)}` : '';
  const parts = [soon ? '' : item.word, left, ...item.facts, item.detail, item.is_live ? `for ${age}` : `${age} ago`];
  return parts.filter(Boolean).join(' · ');
}

export function matches(item: Item, filter: string): boolean {
  const text = `${item.uri} ${kind(item)} ${item.word} ${item.state} ${item.facts.join(' ')}`.toLowerCase();
  return filter.split(/\s+/).every(word => text.includes(word));
}

function rank(item: Item): number {
  const place = TROUBLE.indexOf(item.tone);
  return place < 0 ? TROUBLE.length : place;
}

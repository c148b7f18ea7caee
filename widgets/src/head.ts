// What is always in view: the workspace, how much lives, what it costs an hour, and the filter.

import type { Items } from './answers';
import { element, setText } from './dom';
import { clock, usd } from './format';

export class Head {
  readonly node = element('div', 'aiinfra-Panel-head');
  readonly heading = element('h2', 'aiinfra-Panel-heading', 'AI infrastructure');
  private readonly status = element('p', 'aiinfra-Panel-status');
  private readonly count = element('span');
  private readonly news = element('span', 'aiinfra-hidden');
  private readonly at = element('span');
  private readonly cost = element('div', 'aiinfra-Panel-cost');
  private readonly price = element('b');
  private readonly filter = element('input', 'aiinfra-Panel-filter');
  private sum = 0;
  private isLeast = false;

  constructor(onSearch: (words: string) => void) {
    this.heading.tabIndex = -1;
    const said = element('span');
    said.setAttribute('role', 'status');
    said.append(this.count, this.news);
    this.status.append(said, this.at);
    const price = element('p', 'aiinfra-Panel-price');
    price.append(this.price, ' USD an hour');
    this.cost.append(price);
    this.filter.type = 'search';
    this.filter.setAttribute('aria-label', 'Filter by name, noun or state');
    this.filter.addEventListener('input', () => onSearch(this.filter.value));
    const top = element('div', 'aiinfra-Panel-top');
    top.append(this.heading, this.status);
    this.node.append(top, this.cost, this.filter);
    this.cost.hidden = this.filter.hidden = true;
  }

  /** Show an answer; `live` and `all` count what is known by now. */
  show(answer: Items, live: number, all: number, now: number): void {
    setText(this.heading, answer.workspace ?? 'AI infrastructure');
    this.heading.title = answer.workspace === null ? '' : `Workspace ${answer.workspace}`;
    setText(this.count, `${live} live`);
    setText(this.at, live ? ` · ${clock(now)}` : '');
    this.sum = answer.usd_per_hour ?? this.sum;
    this.isLeast = answer.is_least ?? this.isLeast;
    this.cost.hidden = answer.workspace === null;
    this.filter.hidden = all === 0;
    this.filter.placeholder = `Filter ${all} ${all === 1 ? 'thing' : 'things'}`;
    this.showPrice(this.isLeast);
  }

  /** Say to whoever listens what else there is: what is new, and what is being stopped. */
  tell(news: string): void {
    setText(this.news, news);
  }

  /** Nobody has answered: all that is shown is old. */
  stale(): void {
    setText(this.count, '✕ not connected');
    setText(this.at, '');
    this.showPrice(true);
  }

  private showPrice(isLeast: boolean): void {
    setText(this.price, `${isLeast ? '≥ ' : ''}${usd(this.sum)}`);
  }
}

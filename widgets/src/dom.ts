// Elements of ours. What is there already is only touched when something about it changed: a screen reader would read
// it again.

/** An element with one of our classes. */
export function element<K extends keyof HTMLElementTagNameMap>(tag: K, name = '', text = ''): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (name) {
    node.className = name;
  }
  if (text) {
    node.textContent = text;
  }
  return node;
}

/** A button that does something; it is told which one was pressed. */
export function button(name: string, text: string, onClick: (pressed: HTMLButtonElement) => void): HTMLButtonElement {
  const node = element('button', name, text);
  node.type = 'button';
  node.addEventListener('click', () => onClick(node));
  return node;
}

export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function setAttribute(node: HTMLElement, name: string, value: string): void {
  if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** Put a node at a place; one that is there already is not touched, since moving it would take its focus. */
export function put(parent: Element, node: Element, place: number): void {
  const there = parent.children[place] ?? null;
  if (there !== node) {
    parent.insertBefore(node, there);
  }
}

/** A sentence in which `code` stands as code. */
export function sentence(text: string): (Node | string)[] {
  return text.split('`').map((part, place) => (place % 2 ? element('code', '', part) : part));
}

export function paragraph(text: string, name = ''): HTMLElement {
  const node = element('p', name);
  node.append(...sentence(text));
  return node;
}

/** A text in the colour of a tone. */
export function mark(tone: string, text: string): HTMLElement {
  const found = element('span', 'aiinfra-Mark', text);
  found.dataset['tone'] = tone;
  return found;
}

/** What went wrong or helps, behind what it is. */
export function why(label: HTMLElement, text: string): HTMLElement {
  const found = paragraph(` ${text}`, 'aiinfra-Item-why');
  found.prepend(label);
  return found;
}

/** Copy a text, also where the page is not on HTTPS, and say so on the button for a while. */
export async function copy(text: string, pressed: HTMLButtonElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = element('textarea');
    field.value = text;
    pressed.after(field);
    field.select();
    document.execCommand('copy');
    field.remove();
    pressed.focus();
  }
  flash(pressed, 'Copied');
}

/** Another text on a button for a while, at its width, so that its neighbours stay where they are. */
export function flash(pressed: HTMLButtonElement, text: string): void {
  const before = pressed.dataset['text'] ?? pressed.textContent ?? '';
  pressed.dataset['text'] = before;
  pressed.style.minWidth = `${pressed.offsetWidth}px`;
  setText(pressed, text);
  window.setTimeout(() => setText(pressed, before), 2000);
}

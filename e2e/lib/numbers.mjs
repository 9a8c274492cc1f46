// Numbered messages: whether all arrived, each once and in order. Their bodies have what transports have to escape.

const awkward = ['plain', '100% %41 %zz', 'quote " backslash \\ slash /', '</script><!--', '<!-- <script> -', 'ümlaut ☕ 😀', '\u2028\u2029\u200d\ufeff\ufff0', 'line\nbreak\r\nand\ttab', '\u0001\u001f', "'single' & <b>"];

export const numbered = (number) => `${number} ${awkward[number % awkward.length]}`;

/** Collects bodies; wrong says what was not as it should be. */
export class Numbers {
  next = 0;
  wrong = [];

  take(body) {
    const expected = numbered(this.next);
    if (body !== expected && this.wrong.length < 10) this.wrong.push(`${JSON.stringify(body)} instead of ${JSON.stringify(expected)}`);
    this.next = Number.parseInt(body, 10) + 1;
  }
}

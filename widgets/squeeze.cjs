// A loader for style sheets: without comments and indentation, which a browser need not load.

module.exports = source =>
  source
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/\s*\n\s*/g, '\n')
    .replace(/\n?([{};,])\n/g, '$1')
    .replace(/: /g, ':')
    .replace(/ \{/g, '{')
    .trim();

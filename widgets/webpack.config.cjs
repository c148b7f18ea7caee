// What JupyterLab's own build of an extension does not do: style sheets are minified. The loader comes with the bundler.

module.exports = {
  module: {
    rules: [{ test: /\.raw\.css$/, loader: 'builtin:lightningcss-loader', options: { minify: true } }]
  }
};

// What JupyterLab's own build of an extension does not do: our style sheets go into the bundle without their comments.

const path = require('path');

module.exports = {
  module: {
    rules: [
      {
        test: /\.css$/,
        include: path.join(__dirname, 'style'),
        enforce: 'pre',
        use: [path.join(__dirname, 'squeeze.cjs')]
      }
    ]
  }
};

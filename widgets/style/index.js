import './panel.css';
import './result.css';

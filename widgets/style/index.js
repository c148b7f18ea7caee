import './panel.css';
import './rows.css';
import './result.css';

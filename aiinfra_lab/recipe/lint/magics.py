"""The magics that IPython and its kernel have from the start, as they are called; a test compares them with IPython."""

from __future__ import annotations

_LINE = """
alias alias_magic autoawait autocall automagic autosave bookmark cat cd clear code_wrap colors conda config
connect_info cp debug dhist dirs doctest_mode ed edit env gui hist history killbgscripts ldir less lf lk ll load
load_ext loadpy logoff logon logstart logstate logstop ls lsmagic lx macro magic mamba man matplotlib micromamba
mkdir more mv notebook page pastebin pdb pdef pdoc pfile pinfo pinfo2 pip popd pprint precision prun psearch psource
pushd pwd pycat pylab qtconsole quickref recall rehashx reload_ext rep rerun reset reset_selective rm rmdir run save
sc set_env subshell sx system tb time timeit unalias unload_ext uv who who_ls whos xdel xmode
"""
_CELL = """
! HTML SVG bash capture code_wrap debug file html javascript js latex markdown perl prun pypy python python2 python3
ruby script sh svg sx system time timeit writefile
"""
LINE, CELL = frozenset(_LINE.split()), frozenset(_CELL.split())
# Of extensions that come with IPython → the magics that they bring.
EXTENSIONS = {
    "autoreload": frozenset({"autoreload", "aimport"}),
    "storemagic": frozenset({"store"}),
}
# What IPython calls a magic by that is asked for help.
HELP = "?"
SHELL = "!"

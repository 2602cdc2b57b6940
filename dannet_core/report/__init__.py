"""Reports: HTML pages by Jinja2 with charts by Plotly, pictures of charts by Matplotlib.

`page.render_page` fills a template of ``templates/``; `page.figure_div` puts a Plotly figure into it. The three
packages are optional and imported where they are used: ``pip install 'dannet_ros[report]'``.
"""

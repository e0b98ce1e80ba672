"""Two runs that are served, and a browser."""

import pytest

from tests.watch.serving import EVIL, Page, served, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    write(base / "a", range(1, 801))
    write(base / "b", range(1, 701), name=EVIL, trouble=True)
    return base / "a", base / "b"


@pytest.fixture(scope="module")
def port(folders):
    with served(*folders) as (_, port):
        yield port


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser, port):
    browser.size(1200)
    browser.open(port)
    browser.until("document.querySelectorAll('#runs li').length", 2)
    browser.until("document.getElementById('runs').textContent.includes('step 700')")
    browser.complaints()
    return browser

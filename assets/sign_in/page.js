(function () {
  /* The address held a secret: it leaves the address bar and the history. */
  if (location.search) history.replaceState(null, '', location.pathname);

  /* A second tap does not send a form twice. */
  var sent = false;
  function mark(value) {
    sent = value;
    document.documentElement.toggleAttribute('data-sent', value);
  }
  addEventListener('submit', function (event) {
    if (sent) event.preventDefault();
    mark(true);
  });
  addEventListener('pageshow', function () { mark(false); });
})();

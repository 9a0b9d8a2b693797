"""From a finished sweep to a registered model, or to the reasons why not."""

"""The sample mails of ``bouncepoll demo``, one a file; ``@FILTER@`` stands for the demo's filter address."""

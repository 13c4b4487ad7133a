/// Tests of the command line, run inside the test's own virtual machine, over a tiny model with random weights.
package io.sjd2.cli;

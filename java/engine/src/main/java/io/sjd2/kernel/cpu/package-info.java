/// Opens `libsjd2_cpu`: finds it beside the program or inside the jar, loads it once per process and hands out
/// backends.
///
/// The library chooses its instruction set when it is loaded (`SJD2_CPU_ISA` overrides); nothing here branches on it.
package io.sjd2.kernel.cpu;

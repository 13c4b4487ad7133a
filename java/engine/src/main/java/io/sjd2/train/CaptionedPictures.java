package io.sjd2.train;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PictureReader;
import io.sjd2.tensor.RgbImage;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// The pictures of a folder and what they show: `name.png` or `name.jpg` beside `name.txt`, in the order of their
/// names. Pictures are read when they are asked for. Immutable.
public final class CaptionedPictures {
    private static final String CAPTION = ".txt";
    private static final long MAX_CAPTION_BYTES = 1 << 16;
    private static final Pattern NO_WORD = Pattern.compile("\\P{L}+");

    private final List<Path> files;
    private final List<String> captions;

    private CaptionedPictures(List<Path> files, List<String> captions) {
        this.files = files;
        this.captions = captions;
    }

    /// Finds the pictures of a folder and reads their captions.
    ///
    /// @throws ModelFormatException naming the file, if the folder is missing or a picture has no caption
    /// @throws IllegalArgumentException if the folder holds no picture
    public static CaptionedPictures in(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            throw new ModelFormatException(
                    folder.toString(), Files.exists(folder) ? "is no folder" : "does not exist", "check the path");
        }
        List<Path> files;
        try (Stream<Path> all = Files.list(folder)) {
            files = all.filter(PictureReader::accepts).sorted().toList();
        }
        if (files.isEmpty()) {
            throw new IllegalArgumentException(
                    folder + " holds no pictures; expected files name.png or name.jpg beside name" + CAPTION);
        }
        List<String> captions = new ArrayList<>();
        for (Path file : files) {
            captions.add(caption(file));
        }
        return new CaptionedPictures(files, List.copyOf(captions));
    }

    private static String caption(Path picture) throws IOException {
        Path file = beside(picture, CAPTION);
        if (!Files.isRegularFile(file)) {
            throw new ModelFormatException(
                    picture.toString(), "has no caption", "write it to " + file.getFileName() + " beside it");
        }
        if (Files.size(file) > MAX_CAPTION_BYTES) {
            throw new ModelFormatException(
                    file.toString(), "has " + Files.size(file) + " bytes", "shorten it to " + MAX_CAPTION_BYTES);
        }
        try {
            return Files.readString(file).strip();
        } catch (CharacterCodingException e) {
            throw new ModelFormatException(file.toString(), "is not UTF-8 text", "save the caption as UTF-8", e);
        }
    }

    private static Path beside(Path picture, String ending) {
        String name = picture.getFileName().toString();
        return picture.resolveSibling(name.substring(0, name.lastIndexOf('.')) + ending);
    }

    /// The file of picture `index`'s name with another ending, dot included.
    public Path beside(int index, String ending) {
        return beside(files.get(index), ending);
    }

    /// How many there are.
    public int size() {
        return files.size();
    }

    /// What picture `index` shows.
    public String caption(int index) {
        return captions.get(index);
    }

    /// Picture `index`, its middle cropped to the shape of `width` x `height` and resized to it by averaging areas.
    ///
    /// @throws ModelFormatException naming the file, if it cannot be read
    public RgbImage picture(int index, int width, int height) throws IOException {
        return fit(PictureReader.read(files.get(index)), width, height);
    }

    /// The words of all captions in lower case, the frequent ones first, then by the alphabet.
    ///
    /// @param most at most this many
    public List<String> words(int most) {
        Map<String, Integer> counts = new TreeMap<>();
        for (String caption : captions) {
            NO_WORD.splitAsStream(caption.toLowerCase(Locale.ROOT))
                    .filter(word -> !word.isEmpty() && word.equals(word.toLowerCase(Locale.ROOT)))
                    .forEach(word -> counts.merge(word, 1, Integer::sum));
        }
        return counts.entrySet().stream()
                .sorted(Map.Entry.comparingByValue(Comparator.reverseOrder()))
                .limit(most)
                .map(Map.Entry::getKey)
                .toList();
    }

    /// The middle of a picture at another size: each pixel is the mean of the area that it covers.
    static RgbImage fit(RgbImage image, int width, int height) {
        double scale = Math.min((double) image.width() / width, (double) image.height() / height);
        double left = (image.width() - width * scale) / 2;
        double top = (image.height() - height * scale) / 2;
        byte[] source = image.rgb();
        byte[] out = new byte[3 * width * height];
        for (int y = 0; y < height; y++) {
            double y0 = top + y * scale;
            for (int x = 0; x < width; x++) {
                double x0 = left + x * scale;
                double[] sums = new double[3];
                double area = 0;
                for (int sy = (int) y0; sy < Math.min(y0 + scale, image.height()); sy++) {
                    double h = Math.min(sy + 1, y0 + scale) - Math.max(sy, y0);
                    for (int sx = (int) x0; sx < Math.min(x0 + scale, image.width()); sx++) {
                        double a = h * (Math.min(sx + 1, x0 + scale) - Math.max(sx, x0));
                        area += a;
                        for (int c = 0; c < 3; c++) {
                            sums[c] += a * (source[3 * (sy * image.width() + sx) + c] & 0xff);
                        }
                    }
                }
                for (int c = 0; c < 3; c++) {
                    out[3 * (y * width + x) + c] = (byte) Math.round(sums[c] / area);
                }
            }
        }
        return new RgbImage(width, height, out);
    }
}
